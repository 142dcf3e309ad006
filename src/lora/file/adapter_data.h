// The values of an adapter file, copied out of it and checked to be finite: one pass over the data, on all cores.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "lora/matrix.h"

namespace fx {

class AdapterData {
 public:
  // `source` must outlive it, and holds one file.
  explicit AdapterData(const TensorSource& source) : source_(source) {}

  // A tensor of a floating dtype as a matrix of rows x columns; they are its number of elements. Its values are there
  // after `load`.
  Matrix matrix(const TensorInfo& info, int64_t rows, int64_t columns);

  // Copies all tensors that were asked for. Throws bad_file naming the first with NaN or infinity (in f32) and where it
  // is; `label` opens the message.
  void load(const std::string& label) const;

 private:
  const TensorSource& source_;
  uint64_t begin_ = 0;                   // of the data in the file
  std::shared_ptr<std::byte[]> memory_;  // as large as the data; what nobody asked for is never touched
  std::vector<const TensorInfo*> wanted_;
};

// The values of a small tensor of a floating dtype as f32. Throws bad_file as `load` does.
std::vector<float> finite_values(const TensorSource& source, const TensorInfo& info, const std::string& label);

}  // namespace fx
