// fluxswap as a library: FLUX.1 text to image, with LoRA adapters that change between two pictures at no cost.
//
//   fluxswap::Engine engine({.model = "FLUX.1-dev"});
//   engine.use_adapters({{"watercolour.safetensors", 0.8f}});
//   const fluxswap::Picture picture = engine.generate({.prompt = "a lighthouse", .seed = 7});
//   picture.write_png("lighthouse.png");
//
// All errors are thrown as fluxswap::Error, whose message says what was expected and what was found. After an error the
// engine is as usable as before it. One Engine serves one thread at a time; several engines may work side by side.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace fluxswap {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The version of the library, "0.1.0".
const char* version();

struct EngineOptions {
  std::filesystem::path model;  // a diffusers folder, as FLUX.1-dev and FLUX.1-schnell are published
  int threads = 0;              // of the CPU back-end; 0 takes all cores
};

// An adapter file and how strongly it acts. Negative scales are allowed.
struct Adapter {
  std::filesystem::path file;
  float scale = 1.0f;
};

// One picture. Zeros take the model's defaults.
struct Request {
  std::string prompt;              // UTF-8
  int width = 0;                   // pixels, a multiple of Engine::size_multiple()
  int height = 0;
  int steps = 0;
  double guidance = 3.5;
  std::uint64_t seed = 0;          // the same request with the same adapters gives the same bytes
  int max_sequence_length = 512;   // tokens of the T5 encoder, 1 to 512
};

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;      // (height, width, 3), row-major
  std::vector<float> latents;         // (tokens, channels), packed, just before the VAE
  std::string parameters;             // the request in the notation of stable-diffusion-webui
  std::vector<std::string> warnings;  // a prompt that was cut off
  double seconds_per_step = 0;

  // Writes a PNG file that carries `parameters`, atomically.
  void write_png(const std::filesystem::path& path) const;
};

// What a change of adapters did.
struct AdapterChange {
  double seconds = 0;                 // until the next picture may start
  std::vector<std::string> warnings;  // keys of a file that match nothing in the model
};

// After `step` of `steps`; return false to cancel (generate then throws Error).
using Progress = std::function<bool(int step, int steps)>;

class Engine {
 public:
  // Loads the model; throws Error when a file is missing, damaged or of another kind.
  explicit Engine(const EngineOptions& options);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  // Makes these adapters, together, the active ones; none removes all. Files are kept in memory after their first use.
  // Throws Error, and then the adapters that were active stay so.
  AdapterChange use_adapters(const std::vector<Adapter>& adapters);

  Picture generate(const Request& request, const Progress& progress = nullptr);

  // Width and height are multiples of this: 16 for FLUX.1.
  int size_multiple() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fluxswap
