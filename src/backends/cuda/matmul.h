// Matrix products in f32 through cuBLASLt, with plans that are made once per shape.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/device_runtime.h"
#include "core/buffer.h"

namespace fx::cuda {

// y = alpha * x w^T + beta * y for each of the batches. All matrices are row-major with dense rows; strides count floats.
// x is (m, k), y is (m, n), w is (n, k), or (k, n) if `w_has_k_rows`, where the product is x w.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;
  const float* w = nullptr;
  int64_t w_stride = 0;
  bool w_has_k_rows = false;
  float* y = nullptr;
  int64_t y_stride = 0;
  int64_t batches = 1, x_batch = 0, w_batch = 0, y_batch = 0;  // batch strides
  float alpha = 1, beta = 0;
};

class Matmul {
 public:
  // Throws device where cuBLASLt is missing.
  explicit Matmul(CudaRuntime& runtime);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // Enqueues the product. True f32 (no TF32), and the same bits for the same call: the plan of a shape is fixed by the
  // heuristic of the library. Throws unsupported where the library has no algorithm.
  void run(const Product& product);

 private:
  struct Plan;
  using Key = std::array<int64_t, 16>;
  static Key key_of(const Product& product);
  const Plan& plan_of(const Product& product);

  CudaRuntime& runtime_;
  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace fx::cuda
