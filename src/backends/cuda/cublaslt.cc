#include "backends/cuda/cublaslt.h"

#include <dlfcn.h>

#include <string>

#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr const char* kName = "libcublasLt.so.13";

// Where the system looks, then where the toolkit of the build lies.
void* open_library() {
  std::string reason;
  for (const std::string& path : {std::string(kName), std::string(FX_CUDA_LIBRARY_FOLDER) + "/" + kName}) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    if (reason.empty()) reason = dlerror();
  }
  fail(ErrorCode::device, "cannot load cuBLASLt of CUDA 13: {}; is its folder in LD_LIBRARY_PATH?", reason);
}

template <class Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  fx::check(function != nullptr, ErrorCode::device, "{} has no function {}", kName, name);
}

CublasLt load() {
  void* library = open_library();
  CublasLt lt{};
  find(library, lt.create, "cublasLtCreate");
  find(library, lt.destroy, "cublasLtDestroy");
  find(library, lt.status_string, "cublasLtGetStatusString");
  find(library, lt.matmul, "cublasLtMatmul");
  find(library, lt.find_algorithms, "cublasLtMatmulAlgoGetHeuristic");
  find(library, lt.create_operation, "cublasLtMatmulDescCreate");
  find(library, lt.destroy_operation, "cublasLtMatmulDescDestroy");
  find(library, lt.set_operation, "cublasLtMatmulDescSetAttribute");
  find(library, lt.create_layout, "cublasLtMatrixLayoutCreate");
  find(library, lt.destroy_layout, "cublasLtMatrixLayoutDestroy");
  find(library, lt.set_layout, "cublasLtMatrixLayoutSetAttribute");
  find(library, lt.create_preference, "cublasLtMatmulPreferenceCreate");
  find(library, lt.destroy_preference, "cublasLtMatmulPreferenceDestroy");
  find(library, lt.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  return lt;
}

}  // namespace

void CublasLt::check(cublasStatus_t status, const char* what) const {
  fx::check(status == CUBLAS_STATUS_SUCCESS, ErrorCode::device, "cuBLASLt: {} failed: {}", what, status_string(status));
}

const CublasLt& cublaslt() {
  static const CublasLt functions = load();
  return functions;
}

}  // namespace fx::cuda
