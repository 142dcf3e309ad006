// Matrix products through cuBLASLt, in f32, bf16 and e4m3, with plans that are made once per shape.
#pragma once

#include <array>
#include <climits>
#include <map>
#include <memory>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/device_runtime.h"
#include "core/buffer.h"

namespace fx::cuda {

// y = gelu(alpha * x w^T + beta * y + bias) for each of the batches, where bias and GELU are optional. All matrices are
// row-major with dense rows; strides count elements. x is (m, k), y is (m, n), w is (n, k), or (k, n) if
// `w_has_k_rows`, where the product is x w. Sums are f32.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  const void* x = nullptr;
  int64_t x_stride = 0;
  const void* w = nullptr;
  int64_t w_stride = 0;
  bool w_has_k_rows = false;
  void* y = nullptr;
  int64_t y_stride = 0;
  int64_t batches = 1, x_batch = 0, w_batch = 0, y_batch = 0;  // batch strides
  float alpha = 1, beta = 0;
  DType type = DType::f32;  // of x and w: f32, bf16 or f8_e4m3
  // f32 or bf16. With e4m3 and without scales also f8_e4m3, where beta is 0 and what is beyond 448 becomes 448.
  DType y_type = DType::f32;
  // With e4m3: one scale for each row of x and of w, or none on both sides. All matrices, their rows and the scales begin
  // at multiples of 16 bytes; k and n are multiples of 16.
  const float *x_scale = nullptr, *w_scale = nullptr;
  const void* bias = nullptr;  // (n) bf16, or null
  bool gelu_tanh = false;
};

class Matmul {
 public:
  // Throws device where cuBLASLt is missing. With an `arch_limit` below 90, products go the way of older GPUs, which is
  // how tests reach it on a newer one.
  explicit Matmul(CudaRuntime& runtime, int arch_limit = INT_MAX);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // Enqueues the product. True f32 (no TF32), and the same bits for the same call: the plan of a shape is fixed by the
  // heuristic of the library, whatever alpha, beta and addresses (but for their alignment) are. Throws unsupported
  // where the library has no algorithm.
  void run(const Product& product);

  // Whether `run` will do it. Nothing is read at the addresses, but their alignment counts.
  bool supports(const Product& product);

  // Whether products of e4m3 with scales for each row exist on this GPU, with a bf16 result, bias and GELU.
  bool outer_vector_fp8() const { return outer_vector_fp8_; }

 private:
  struct Plan;
  using Key = std::array<int64_t, 14>;
  static Key key_of(const Product& product);
  Plan& plan_of(const Product& product);
  bool probe_outer_vector();

  CudaRuntime& runtime_;
  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  bool outer_vector_fp8_ = false;
};

}  // namespace fx::cuda
