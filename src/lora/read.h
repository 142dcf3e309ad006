// Reading adapter files. In two steps, so that a file can be inspected without a model: first the container and the
// spelling of its keys, then the meaning of its modules for a model.
//
// Everything is checked before anything is returned. Damaged or contradictory files throw Error(bad_file); valid files
// of a kind that we cannot run throw Error(unsupported). Messages are one line and name the file and the offending key.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"

namespace fx {

// One low-rank pair as a file has it: names and row order are the file's.
struct FileModule {
  Component component = Component::transformer;
  std::string module;             // without the component's prefix
  std::vector<std::string> keys;  // all keys that belong to it; first that of A, then that of B
  Matrix a;                       // (rank, in)
  Matrix b;                       // (out, rank)
  int64_t rank = 0, in = 0, out = 0;
  float scale = 1.0f;
};

struct AdapterFile {
  std::string name;
  std::filesystem::path path;
  FileHash hash;
  std::vector<FileModule> modules;
  AdapterReport report;  // matched stays empty
};

// Reads a file without a model. Throws bad_file for: a broken container, no LoRA tensors, A without B or B without A, A
// and B of different ranks, shapes that are not matrices, NaN or infinity, dtypes that are not floating, contradictory
// metadata. Throws unsupported for adapters of another model family and for parts that are not plain LoRA (DoRA, LoHa,
// LoKr, ...).
AdapterFile read_adapter_file(const std::filesystem::path& path);

// Gives the file's modules their places in a model. Throws bad_file when nothing matches, when a matrix has another
// size than the model's layer, when a block is beyond the model's, or when two modules of the file target the same
// rows. Modules without a place are listed in the report; warning about them is the caller's part.
Adapter resolve_adapter(AdapterFile file, const AdapterTarget& target);

// Both steps.
Adapter read_adapter(const std::filesystem::path& path, const AdapterTarget& target);

}  // namespace fx
