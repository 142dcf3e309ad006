#include "backends/cuda/matmul.h"

#include <algorithm>

#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = 32 << 20;  // what NVIDIA recommends for Hopper

// The largest power of two up to 16 that divides an address.
uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 16;
  return static_cast<uint32_t>(bits & -bits);
}

// One row may have any stride; the library wants one that covers the row.
int64_t stride_of(int64_t rows, int64_t columns, int64_t stride) { return rows == 1 ? columns : stride; }

}  // namespace

// cuBLASLt counts columns first: our row-major y = x w^T is its y^T = w x^T, so w comes first.
struct Matmul::Plan {
  const CublasLt& lt;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  Plan(const CublasLt& functions, const Product& p) : lt(functions) {
    lt.check(lt.create_operation(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    const cublasOperation_t w_turned = p.w_has_k_rows ? CUBLAS_OP_N : CUBLAS_OP_T;
    lt.check(lt.set_operation(operation, CUBLASLT_MATMUL_DESC_TRANSA, &w_turned, sizeof w_turned),
             "describing a product");
    const int64_t w_rows = p.w_has_k_rows ? p.k : p.n, w_columns = p.w_has_k_rows ? p.n : p.k;
    w = layout(w_rows, w_columns, p.w_stride, p.batches, p.w_batch);
    x = layout(p.m, p.k, p.x_stride, p.batches, p.x_batch);
    y = layout(p.m, p.n, p.y_stride, p.batches, p.y_batch);
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t matrix : {w, x, y}) {
      if (matrix) lt.destroy_layout(matrix);
    }
    if (operation) lt.destroy_operation(operation);
  }
  Plan(const Plan&) = delete;

  cublasLtMatrixLayout_t layout(int64_t rows, int64_t columns, int64_t stride, int64_t batches, int64_t batch_stride) {
    cublasLtMatrixLayout_t matrix = nullptr;
    lt.check(lt.create_layout(&matrix, CUDA_R_32F, static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
                              stride_of(rows, columns, stride)),
             "describing a matrix");
    const auto count = static_cast<int32_t>(batches);
    lt.check(lt.set_layout(matrix, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "describing a batch");
    lt.check(lt.set_layout(matrix, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride),
             "describing a batch");
    return matrix;
  }

  void choose(cublasLtHandle_t handle, const Product& p) {
    cublasLtMatmulPreference_t preference = nullptr;
    lt.check(lt.create_preference(&preference), "asking for an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
      lt.check(lt.set_preference(preference, name, &value, sizeof value), "asking for an algorithm");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.w));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.x));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.y));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.y));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status = lt.find_algorithms(handle, operation, w, x, y, y, preference, 1, &best, &found);
    lt.destroy_preference(preference);
    fx::check(status == CUBLAS_STATUS_SUCCESS && found > 0, ErrorCode::unsupported,
              "cuBLASLt has no algorithm for {} x {} x {} in f32, batches of {}: {}", p.m, p.n, p.k, p.batches,
              lt.status_string(status));
    algorithm = best.algo;
  }
};

Matmul::Matmul(CudaRuntime& runtime)
    : runtime_(runtime), lt_(cublaslt()), workspace_(runtime, DType::u8, {kWorkspaceBytes}) {
  lt_.check(lt_.create(&handle_), "starting");
}

Matmul::~Matmul() {
  if (handle_) lt_.destroy(handle_);
}

Matmul::Key Matmul::key_of(const Product& p) {
  return {
      p.m,       p.n,       p.k,       p.x_stride,  p.w_stride,        p.y_stride,        p.w_has_k_rows,   p.batches,
      p.x_batch, p.w_batch, p.y_batch, p.beta != 0, alignment_of(p.x), alignment_of(p.w), alignment_of(p.y)};
}

const Matmul::Plan& Matmul::plan_of(const Product& product) {
  auto& plan = plans_[key_of(product)];
  if (!plan) {
    auto fresh = std::make_unique<Plan>(lt_, product);
    fresh->choose(handle_, product);
    plan = std::move(fresh);
  }
  return *plan;
}

void Matmul::run(const Product& p) {
  if (p.m == 0 || p.n == 0 || p.batches == 0) return;
  const Plan& plan = plan_of(p);
  lt_.check(lt_.matmul(handle_, plan.operation, &p.alpha, p.w, plan.w, p.x, plan.x, &p.beta, p.y, plan.y, p.y, plan.y,
                       &plan.algorithm, workspace_.tensor().raw(), kWorkspaceBytes, runtime_.stream()),
            "a matrix product");
}

}  // namespace fx::cuda
