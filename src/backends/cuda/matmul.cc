#include "backends/cuda/matmul.h"

#include <algorithm>

#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr int64_t kWorkspaceBytes = 32 << 20;  // what NVIDIA recommends for Hopper
constexpr int kFirstWithOuterVector = 90;

// The largest power of two up to 16 that divides an address.
uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 16;
  return static_cast<uint32_t>(bits & -bits);
}

// One row may have any stride; the library wants one that covers the row.
int64_t stride_of(int64_t rows, int64_t columns, int64_t stride) { return rows == 1 ? columns : stride; }

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return CUDA_R_32F;
    case DType::bf16: return CUDA_R_16BF;
    case DType::f8_e4m3: return CUDA_R_8F_E4M3;
    default: fail(ErrorCode::internal, "no matrix products of {}", name(dtype));
  }
}

}  // namespace

// cuBLASLt counts columns first: our row-major y = x w^T is its y^T = w x^T, so w comes first.
struct Matmul::Plan {
  const CublasLt& lt;
  cublasLtMatmulDesc_t operation = nullptr;
  // c is what y is added to. The library wants it in bf16 where y is e4m3; elsewhere it is y, and null here.
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;
  cublasStatus_t reason = CUBLAS_STATUS_SUCCESS;

  Plan(const CublasLt& functions, const Product& p) : lt(functions) {
    lt.check(lt.create_operation(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.w_has_k_rows ? CUBLAS_OP_N : CUBLAS_OP_T);
    if (p.bias || p.gelu_tanh) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, !p.bias       ? CUBLASLT_EPILOGUE_GELU
                                         : p.gelu_tanh ? CUBLASLT_EPILOGUE_GELU_BIAS
                                                       : CUBLASLT_EPILOGUE_BIAS);
    }
    if (p.bias) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(CUDA_R_16BF));
    if (p.type == DType::f8_e4m3) set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
    if (p.x_scale) {  // without, one scale for each matrix, which is 1
      const auto mode = static_cast<int32_t>(CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode);
    }
    set_addresses(p);
    const int64_t w_rows = p.w_has_k_rows ? p.k : p.n, w_columns = p.w_has_k_rows ? p.n : p.k;
    w = layout(p.type, w_rows, w_columns, p.w_stride, p.batches, p.w_batch);
    x = layout(p.type, p.m, p.k, p.x_stride, p.batches, p.x_batch);
    y = layout(p.y_type, p.m, p.n, p.y_stride, p.batches, p.y_batch);
    if (p.y_type == DType::f8_e4m3) c = layout(DType::bf16, p.m, p.n, p.y_stride, p.batches, p.y_batch);
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t matrix : {w, x, y, c}) {
      if (matrix) lt.destroy_layout(matrix);
    }
    if (operation) lt.destroy_operation(operation);
  }
  Plan(const Plan&) = delete;

  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    lt.check(lt.set_operation(operation, attribute, &value, sizeof value), "describing a product");
  }

  // Layers of one shape share the plan and differ in these. They are read when the product is enqueued.
  void set_addresses(const Product& p) {
    if (p.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    if (!p.x_scale) return;
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.w_scale);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.x_scale);
  }

  cublasLtMatrixLayout_t layout(DType dtype, int64_t rows, int64_t columns, int64_t stride, int64_t batches,
                                int64_t batch_stride) {
    cublasLtMatrixLayout_t matrix = nullptr;
    lt.check(lt.create_layout(&matrix, type_of(dtype), static_cast<uint64_t>(columns), static_cast<uint64_t>(rows),
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
    int count = 0;
    reason = lt.find_algorithms(handle, operation, w, x, c ? c : y, y, preference, 1, &best, &count);
    lt.destroy_preference(preference);
    found = reason == CUBLAS_STATUS_SUCCESS && count > 0;
    algorithm = best.algo;
  }
};

Matmul::Matmul(CudaRuntime& runtime, int arch_limit)
    : runtime_(runtime), lt_(cublaslt()), workspace_(runtime, DType::u8, {kWorkspaceBytes}) {
  lt_.check(lt_.create(&handle_), "starting");
  if (std::min(runtime.compute_capability(), arch_limit) < kFirstWithOuterVector) return;
  outer_vector_fp8_ = probe_outer_vector();
}

Matmul::~Matmul() {
  if (handle_) lt_.destroy(handle_);
}

// Newer GPUs do not have it either: only the library knows, and only its heuristic tells.
bool Matmul::probe_outer_vector() {
  const void* somewhere = workspace_.tensor().raw();
  Product p{.m = 4608, .n = 3072, .k = 3072, .x = somewhere, .x_stride = 3072, .w = somewhere, .w_stride = 3072};
  p.y = workspace_.tensor().raw();
  p.y_stride = 3072;
  p.type = DType::f8_e4m3;
  p.y_type = DType::bf16;
  p.x_scale = p.w_scale = static_cast<const float*>(somewhere);
  p.bias = somewhere;
  if (!supports(p)) return false;
  p.gelu_tanh = true;
  return supports(p);
}

// Beta is not in it: the heuristic does not ask for it, and adding zeros to a sum leaves its bits alone.
Matmul::Key Matmul::key_of(const Product& p) {
  const auto flags = static_cast<int64_t>(p.type) << 40 | static_cast<int64_t>(p.y_type) << 32 |
                     static_cast<int64_t>(p.bias ? alignment_of(p.bias) : 0) << 8 |
                     static_cast<int64_t>(p.x_scale != nullptr) << 2 | static_cast<int64_t>(p.w_has_k_rows) << 1 |
                     static_cast<int64_t>(p.gelu_tanh);
  return {p.m,       p.n,       p.k,       p.x_stride, p.w_stride,        p.y_stride,        flags,
          p.x_batch, p.w_batch, p.y_batch, p.batches,  alignment_of(p.x), alignment_of(p.w), alignment_of(p.y)};
}

Matmul::Plan& Matmul::plan_of(const Product& product) {
  auto& plan = plans_[key_of(product)];
  if (!plan) {
    auto fresh = std::make_unique<Plan>(lt_, product);
    fresh->choose(handle_, product);
    plan = std::move(fresh);
  }
  return *plan;
}

bool Matmul::supports(const Product& p) { return p.m == 0 || p.n == 0 || p.batches == 0 || plan_of(p).found; }

void Matmul::run(const Product& p) {
  if (p.m == 0 || p.n == 0 || p.batches == 0) return;
  Plan& plan = plan_of(p);
  check(plan.found, ErrorCode::unsupported, "cuBLASLt has no algorithm for {} x {} x {} in {}, batches of {}: {}", p.m,
        p.n, p.k, name(p.type), p.batches, lt_.status_string(plan.reason));
  plan.set_addresses(p);
  const void* c = plan.c ? nullptr : p.y;
  const cublasLtMatrixLayout_t c_layout = plan.c ? plan.c : plan.y;
  lt_.check(lt_.matmul(handle_, plan.operation, &p.alpha, p.w, plan.w, p.x, plan.x, &p.beta, c, c_layout, p.y, plan.y,
                       &plan.algorithm, workspace_.tensor().raw(), kWorkspaceBytes, runtime_.stream()),
            "a matrix product");
}

}  // namespace fx::cuda
