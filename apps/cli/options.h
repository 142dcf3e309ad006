// What the command line says, command by command. Zero and empty stand for "not given".
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "pipeline/engine.h"
#include "sampling/noise.h"

namespace fx::cli {

using Path = std::filesystem::path;

struct EngineOptions {
  Path model;
  std::string device = "auto";     // auto, cpu, cuda
  std::string precision = "auto";  // auto, f32, bf16, fp8
  std::string adapter_mode = "auto";  // auto, merged, unmerged
  std::string attention = "auto";     // auto, bf16, e4m3
  std::string modulation = "auto";    // auto, bf16, e4m3
  int max_rank = 0;                   // room that is reserved for unmerged adapters
  bool reference = false;          // the reference back-end, to compare with
  int threads = 0;
};

struct PictureOptions {
  int64_t width = 0, height = 0;  // pixels
  int steps = 0;
  double guidance = 3.5;
  std::optional<uint64_t> seed;
  int max_sequence_length = 512;
  std::optional<NoiseType> noise;
};

// Which adapters act, and how.
struct AdapterOptions {
  std::vector<AdapterChoice> choices;  // as given: names may stand for files
  std::vector<Path> folders;           // in which names are looked up
  bool merge = false;                  // into the weights
  bool beside = false;                 // the weights, even where these could carry adapters
  bool strict = false;                 // a key without a place is an error
};

struct GenerateOptions {
  EngineOptions engine;
  PictureOptions picture;
  std::optional<std::string> prompt;
  AdapterOptions adapters;
  int count = 1;
  Path out, save_latents, inputs, taps;
  bool json = false;
};

struct GridOptions {
  EngineOptions engine;
  PictureOptions picture;
  std::vector<std::string> prompts;                 // rows
  std::vector<std::vector<AdapterChoice>> columns;  // after the first, which has no adapter
  AdapterOptions adapters;                          // but for the choices
  Path out;
  bool json = false;
};

struct LoraInspectOptions {
  Path file, model;
  bool strict = false;
  bool json = false;
};

struct LoraConvertOptions {
  Path in, out, model;
  DType dtype = DType::f32;
  bool dense = false;  // the differences of whole parameters
  bool strict = false;
  bool json = false;
};

struct ModelInspectOptions {
  Path model;
  bool json = false;
};

struct DebugTokensOptions {
  Path model;
  std::string prompt;
  int max_sequence_length = 512;
  bool json = false;
};

struct DebugSigmasOptions {
  Path model;
  PictureOptions picture;  // size and steps
  bool json = false;
};

struct DebugNoiseOptions {
  uint64_t seed = 0;
  Shape shape;
  NoiseType noise = NoiseType::f32;
  Path out;
  bool json = false;
};

struct DebugEncodeOptions {
  EngineOptions engine;
  std::string prompt;
  int max_sequence_length = 512;
  AdapterOptions adapters;
  Path out, taps;
  bool json = false;
};

struct DebugTransformerOptions {
  EngineOptions engine;
  int64_t width = 0, height = 0;
  double guidance = 3.5;
  AdapterOptions adapters;
  Path inputs, out, taps;
  bool json = false;
};

}  // namespace fx::cli
