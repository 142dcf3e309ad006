// cuBLASLt, loaded when the first device is opened: programs start without the library, and without its half gigabyte.
#pragma once

#include <cublasLt.h>

namespace fx::cuda {

// The functions we call, by their names without "cublasLt".
struct CublasLt {
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtDestroy) destroy;
  decltype(&::cublasLtGetStatusString) status_string;
  decltype(&::cublasLtMatmul) matmul;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) find_algorithms;
  decltype(&::cublasLtMatmulDescCreate) create_operation;
  decltype(&::cublasLtMatmulDescDestroy) destroy_operation;
  decltype(&::cublasLtMatmulDescSetAttribute) set_operation;
  decltype(&::cublasLtMatrixLayoutCreate) create_layout;
  decltype(&::cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&::cublasLtMatrixLayoutSetAttribute) set_layout;
  decltype(&::cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&::cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) set_preference;

  // Throws Error(device) "cuBLASLt: WHAT failed: REASON" unless `status` is success.
  void check(cublasStatus_t status, const char* what) const;
};

// Loaded once per process. Throws Error(device) with the loader's reason where the library is missing.
const CublasLt& cublaslt();

}  // namespace fx::cuda
