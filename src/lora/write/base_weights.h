// The weights of a model's files by canonical name, read a few rows at a time: for what is said or written about an
// adapter without loading the model, and for merging into weights that the device has quantised.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/tensor_source.h"
#include "weights/name_map.h"

namespace fx {

class BaseWeights {
 public:
  BaseWeights(std::unique_ptr<TensorSource> source, const NameMap& names);

  // These rows of a canonical parameter as f32, row-major. Whoever reads the last row of a tensor releases its pages. Thread-safe.
  // Throws bad_file when the files do not have them all.
  std::vector<float> rows(const std::string& parameter, const RowRange& rows) const;

 private:
  struct Piece {
    const TensorInfo* info;
    RowRange rows;  // of the canonical parameter
    bool exchange_halves;
  };
  int64_t read_piece(const Piece& piece, const RowRange& wanted, std::vector<float>& values) const;

  std::unique_ptr<TensorSource> source_;
  std::unordered_map<std::string, std::vector<Piece>> pieces_;
};

}  // namespace fx
