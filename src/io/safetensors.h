// The safetensors container: reader (one file, or shards with an index) and writer.
//
// Layout: a 64-bit little-endian length N, N bytes of UTF-8 JSON that map names to dtype, shape and byte ranges, then
// the data, row-major. The reader trusts nothing in a file; every deviation is an Error(bad_file) that names the file,
// the tensor, what was expected and what was found. Dtypes that no part of fluxswap can hold are refused by name.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "io/tensor_source.h"

namespace fx {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Reads and checks the header of a whole file that is in memory; touches none of the data. `label` stands for the file
// name in messages.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& label);

// Maps one file. Throws bad_file; a web page, git-LFS pointer, pickle, zip or GGUF in its place is named as such.
std::unique_ptr<TensorSource> open_safetensors(const std::filesystem::path& path);

// Opens FOLDER/BASE.safetensors.index.json with all its shards or, without an index, FOLDER/BASE.safetensors. BASE is
// "diffusion_pytorch_model" for diffusers components and "model" for transformers ones. Throws bad_file when neither is
// there, or shards are missing (all are named), or the index and the shards contradict each other.
std::unique_ptr<TensorSource> open_sharded(const std::filesystem::path& folder, const std::string& base_name);

// Writes host tensors (contiguous) and metadata, atomically: the file appears complete under its name or not at all.
// Tensors are laid out by falling element size, then by name, so that all data are aligned. Throws invalid_argument for
// a tensor that is undefined or strided or a name that is not UTF-8, and device when the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

// The same for tensors that are not in memory together: names and sizes first, then the values of one after the other.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
  };

  // Throws invalid_argument for a name that is not UTF-8, or comes twice.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();  // without commit: no file

  // The values of the next entry, all of them.
  void write(std::span<const std::byte> values);
  // Gives the file its name. All entries have been written.
  void commit();

 private:
  std::vector<Entry> entries_;
  size_t next_ = 0;
  std::unique_ptr<class AtomicFile> file_;
};

// "F32", "BF16", ...: the spelling of the container.
std::string_view safetensors_name(DType dtype);

}  // namespace fx
