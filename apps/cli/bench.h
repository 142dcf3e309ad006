// fluxswap bench: what its commands share. Options, the ways to run that are compared, and one of them ready to be measured.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "options.h"

namespace fx::cli {

struct BenchOptions {
  EngineOptions engine;
  bool random_weights = false;
  std::string shape;       // of random weights
  PictureOptions picture;  // size, steps, tokens
  int batch = 1;           // pictures at a time
  int rank = 32;           // of the random adapters
  int images = 10;         // measured; after kWarmUps that are not
  int swaps = 100;
  std::vector<std::string> rows;  // names; empty for those of the command
  Path log;
  bool interactive = false;
  bool profile = false;
  bool json = false;
};

inline constexpr int kWarmUps = 2;

enum class BenchAdapter { none, given_rank, largest_rank };
inline constexpr int kLargestRank = 128;

// One way to make pictures.
struct BenchRow {
  std::string name, text;
  Precision precision = Precision::fp8;
  bool recorded = true;         // steps are one launch each
  bool fused_attention = true;  // else two products around a softmax
  bool e4m3_attention = false;
  bool e4m3_modulation = false;
  BenchAdapter adapter = BenchAdapter::given_rank;
  bool merged = false;    // the adapter is in the weights
  bool reserved = false;  // room for the largest rank, whatever the adapter's
  bool swapped = false;   // another adapter for each picture
};

std::span<const BenchRow> bench_rows();
// The row of that name. Throws UsageError that lists the names there are.
const BenchRow& bench_row(const std::string& name);
// "a,b" -> names, each checked; `more` are valid too.
std::vector<std::string> parse_bench_rows(const std::string& text, const std::vector<std::string>& more);

// The configs of random weights; text encoders and transformer as small as can be where they are not measured.
enum class BenchParts { transformer, text_encoders };
std::vector<std::string> bench_shapes();
ModelConfigs bench_configs(const std::string& shape, BenchParts parts);
// Those of the folder, or of the shape.
ModelConfigs bench_configs(const BenchOptions& options, BenchParts parts = BenchParts::transformer);

// The back-end of a row.
std::unique_ptr<Ops> make_bench_ops(const BenchOptions& options, const BenchRow& row);
// The model of the folder, or of random weights.
std::unique_ptr<Model> make_bench_model(Ops& ops, const BenchOptions& options, const ModelOptions& model,
                                        BenchParts parts = BenchParts::transformer);
// The row as this device can run it: f32 where it computes in nothing else and the user has not said a precision.
BenchRow as_run(const BenchRow& row, const BenchOptions& options, Ops& ops);

// The commands, by the name after `bench`.
void run_bench_image(const BenchOptions& options);
void run_bench_swap(const BenchOptions& options);
void run_bench_transformer(const BenchOptions& options);
void run_bench_load(const BenchOptions& options);

// Rows of bench image that are no pictures: the text encoders, each with its own name.
std::vector<std::string> text_encoder_rows();
nlohmann::json measure_text_encoder(const BenchOptions& options, const std::string& name, nlohmann::json& facts);

// What holds for all rows of a run: device, shape, sizes.
nlohmann::json bench_facts(const BenchOptions& options, const std::string& command, Ops& ops, const Request& request);

}  // namespace fx::cli
