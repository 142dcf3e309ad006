// fluxswap as a library: FLUX.1 text to image, with LoRA adapters that change between two pictures at hardly any cost.
//
//   fluxswap::Engine engine({.model = "FLUX.1-dev"});
//   engine.use_adapters({{"watercolour.safetensors", 0.8f}});
//   const fluxswap::Picture picture = engine.generate({.prompt = "a lighthouse", .seed = 7});
//   picture.write_png("lighthouse.png");
//
// All errors are thrown as fluxswap::Error, whose message says what was expected and what was found. After an error the
// engine is as usable as before it. Threads may share an Engine: it makes one picture after the other, and reads and
// prepares the adapters of the others meanwhile. Several engines may work side by side.
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

// Where to compute; automatic takes an NVIDIA GPU where there is one.
enum class Device { automatic, cpu, cuda };
// Of weights and activations. fp8: e4m3 for the linear layers of the transformer's blocks, with one scale for each output
// channel and each row of the input. Automatic: f32 on a CPU; on a GPU fp8 for large models, else bf16.
enum class Precision { automatic, f32, bf16, fp8 };

struct EngineOptions {
  std::filesystem::path model;  // a diffusers folder, as FLUX.1-dev and FLUX.1-schnell are published
  int threads = 0;              // of the CPU back-end; 0 takes all cores
  Device device = Device::automatic;
  Precision precision = Precision::automatic;
  // On a GPU: adapters without a step range are merged into the weights, which costs nothing in a step. For that the
  // unquantised weights stay in memory, and where there is room, a second set of weights, into which the next adapters are
  // merged while a picture runs. By default in bf16, where memory allows: in fp8 merged weights are rounded anew for each
  // adapter, and the change that a weak one makes is far more exact without (at 5 to 7 % more time at rank 32).
  std::optional<bool> merged_adapters;
  // On a GPU: attention in e4m3, by default with fp8. Faster; pictures err about as much.
  std::optional<bool> e4m3_attention;
  // With fp8: the weights of modulation in e4m3, by default where memory is short. 3 GiB less for FLUX.1, and less exact.
  std::optional<bool> e4m3_modulation;
};

// Modules whose name matches `pattern` (`*` any characters, `?` one) act `factor` times as strongly. Names are those of
// the original code ("double_blocks.3.img_attn.qkv") or of diffusers ("transformer_blocks.3.attn.to_q").
struct BlockWeight {
  std::string pattern;
  float factor = 1.0f;
};

// An adapter file and how it acts. Negative scales are allowed.
struct Adapter {
  std::filesystem::path file;
  float scale = 1.0f;
  std::optional<float> text_encoder_scale;  // `scale` where absent
  // The part of the denoising steps at which it acts: step i of n, from 0, where start <= i / n < end.
  double start = 0.0, end = 1.0;
  std::vector<BlockWeight> blocks;  // the first that matches a module counts; others act in full
  // Into the weights: hardly any cost per step; slow, for the CPU does it, unless the model holds adapters merged anyway
  // (EngineOptions::merged_adapters). Throws out_of_memory where the CPU would need more main memory than is free.
  bool merged = false;
  bool beside = false;  // the weights, even where these could carry it; one such adapter takes all others along
};

// One picture. Zeros take the model's defaults.
struct Request {
  std::string prompt;  // UTF-8
  int width = 0;       // pixels, a multiple of Engine::size_multiple()
  int height = 0;
  int steps = 0;
  double guidance = 3.5;
  std::uint64_t seed = 0;         // the same request with the same adapters gives the same bytes
  int max_sequence_length = 512;  // tokens of the T5 encoder, 1 to 512
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

  // With the active adapters.
  Picture generate(const Request& request, const Progress& progress = nullptr);

  // With these, which are the active ones afterwards: for threads that share the engine, as no other thread's change can
  // come in between.
  Picture generate_with(const std::vector<Adapter>& adapters, const Request& request,
                        const Progress& progress = nullptr);

  // Begins to read and stage these adapters on a thread of its own, for the use_adapters or generate_with that comes next with
  // them: called before a picture is made, the next picture hardly waits. What is wrong with them is thrown
  // there. `steps`: of that picture, where an adapter acts at some of them only. Other adapters may come all the same.
  void prepare_next(const std::vector<Adapter>& adapters, int steps = 0);

  // Width and height are multiples of this: 16 for FLUX.1.
  int size_multiple() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fluxswap
