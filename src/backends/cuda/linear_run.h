// One linear layer, run. As much as can be is done by the products themselves; mean_bias and linear_epilogue do the rest.
#pragma once

#include <array>

#include "backends/cuda/linear_input.h"
#include "backends/cuda/mean_bias.h"

namespace fx::cuda {

struct LinearDevice {
  Matmul& matmul;
  Scratch& scratch;
  DeviceFault* fault;
  cudaStream_t stream;
};

class LinearRun {
 public:
  LinearRun(const LinearDevice& device, const LinearArgs& args);
  void run();

 private:
  // How one output comes about.
  struct Way {
    bool onto = false;        // the product adds to y: beta is 1, and a gate is folded into its scales
    bool in_scratch = false;  // the product goes to scratch memory, and from there to y
    int64_t place = 0;        // there
    Tensor target;            // y, or that memory
  };
  void choose_way(const LinearOutput& output, Way& way);
  bool has_bias() const { return a_.bias.defined() || a_.x_mean.defined(); }
  void prepare();
  void fill_front();
  void run_output(const LinearOutput& output, const Way& way, int64_t first_row);
  void run_rows(const LinearOutput& output, const Way& way, int64_t first_row, int64_t begin, int64_t end, float beta);
  const void* weight_rows(int64_t first, int64_t count) const;
  bool fuse(Product& product, const LinearOutput& output, bool folded, int64_t first) const;
  void multiply(const Product& product, const Blocks& blocks, bool folded, int64_t first) const;

  const LinearDevice& device_;
  const LinearArgs& a_;
  const LinearKind kind_;
  const int64_t front_;  // columns of the weight's front that the products take
  const bool has_slot_;  // an adapter is added beside the weight
  ScratchParts parts_;
  LinearInput input_;
  MeanBias mean_bias_;
  std::array<Way, 2> ways_;
  bool folds_ = false;
  // Places in scratch memory.
  int64_t fold_scale_at_ = 0, fold_bias_at_ = 0, inner_at_ = 0, widened_at_ = 0, wide_front_at_ = 0;
  int64_t rows_at_a_time_ = 0;  // of the weight
  Tensor bias_;                 // (out), or with the mean of x (B, out) f32; undefined: none
  GateFold fold_;
  std::byte* scratch_ = nullptr;
};

}  // namespace fx::cuda
