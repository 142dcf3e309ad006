// cuDNN's backend (graph) API, loaded when first needed: programs start without the library and its half gigabyte.
#pragma once

#include <cudnn_graph.h>

#include <string>

namespace fx::cuda {

// The functions we call, by their names without "cudnn" and "cudnnBackend".
struct Cudnn {
  decltype(&::cudnnGetVersion) version;
  decltype(&::cudnnCreate) create;
  decltype(&::cudnnDestroy) destroy;
  decltype(&::cudnnSetStream) set_stream;
  decltype(&::cudnnGetErrorString) error_string;
  decltype(&::cudnnGetLastErrorString) last_error_string;
  decltype(&::cudnnBackendCreateDescriptor) create_descriptor;
  decltype(&::cudnnBackendDestroyDescriptor) destroy_descriptor;
  decltype(&::cudnnBackendSetAttribute) set_attribute;
  decltype(&::cudnnBackendGetAttribute) get_attribute;
  decltype(&::cudnnBackendFinalize) finalize;
  decltype(&::cudnnBackendExecute) execute;

  // Throws Error(device) "cuDNN: WHAT failed: REASON" unless `status` is success.
  void check(cudnnStatus_t status, const char* what) const;
  // The name of `status`, and what the library has noted about the last failure of this thread.
  std::string reason(cudnnStatus_t status) const;
};

// Loaded once per process. Throws Error(device) with the loader's reason where the library is missing.
const Cudnn& cudnn();

}  // namespace fx::cuda
