// Reading adapter files. In two steps, so that a file can be inspected without a model: first the container, the
// spelling of its keys and the values, then the places of its modules in a model.
//
// Everything is checked before anything is returned. Damaged or contradictory files throw Error(bad_file); valid files
// of a kind that we cannot run throw Error(unsupported). Messages are one line and name the file and the offending key.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"
#include "weights/adapter_names.h"

namespace fx {

// A change of one parameter as a file has it. Rows are in the file's order.
struct FileModule {
  AdapterModule place;            // what the file's name for the module stands for, in any model
  std::string name;               // that name, without prefixes
  std::string parameter;          // canonical: "double_blocks.0.img_attn.qkv.weight", "....bias"
  std::vector<std::string> keys;  // all keys that belong to it; of a LoRA first that of A, then that of B
  Delta delta;
  float scale = 1.0f;
  std::optional<double> alpha;  // of an .alpha key
  int64_t rank = 0;             // 0 for what has none
  std::optional<Magnitude> magnitude;
  bool replaces = false;
  std::string_view kind = "LoRA";

  bool is_bias() const { return parameter.ends_with(".bias"); }
  // Runs beside a linear layer; all else is merged into the parameter.
  bool low_rank() const;
  // A whole difference of zeros, as tools that compare two models write them.
  bool changes_nothing() const;
};

struct AdapterFile {
  std::string name;
  std::filesystem::path path;
  FileHash hash;
  std::vector<FileModule> modules;
  AdapterReport report;  // matched stays empty
};

// Reads a file without a model. Throws bad_file for: a broken container, no LoRA tensors, parts that are missing or do
// not fit each other (layers of one text encoder too), one parameter changed twice, shapes that are not matrices, NaN or infinity, dtypes that are not
// floating, contradictory metadata. Throws unsupported for adapters of another model family and for algorithms that are
// not read (OFT, GLoRA, Tucker decompositions, ...).
AdapterFile read_adapter_file(const std::filesystem::path& path);

// What becomes of changes of components that the target does not have.
enum class AbsentComponents {
  unmatched,  // their keys are reported
  kept,       // they are part of the adapter, with the file's sizes: to write them to another file
};

// Gives the file's modules their places in a model. Throws bad_file when nothing matches, when a matrix has another
// size than the model's layer, or when a block is beyond the model's. Throws unsupported for a control adapter that
// needs more inputs than the model has. Modules without a place are listed in the report; warning about them is the
// caller's part.
Adapter resolve_adapter(AdapterFile file, const AdapterTarget& target,
                        AbsentComponents absent = AbsentComponents::unmatched);

// Both steps.
Adapter read_adapter(const std::filesystem::path& path, const AdapterTarget& target);

// Throws bad_file naming the keys of the file at `path` that match nothing, if there are any.
void require_complete(const AdapterReport& report, const std::filesystem::path& path);

}  // namespace fx
