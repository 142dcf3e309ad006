#include "backends/cuda/cudnn.h"

#include <dlfcn.h>

#include <array>

#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr const char* kName = "libcudnn.so.9";

// Where the system looks, then where the toolkit of the build lies. The library finds its parts beside itself.
void* open_library() {
  std::string reason;
  for (const std::string& path : {std::string(kName), std::string(FX_CUDA_LIBRARY_FOLDER) + "/" + kName}) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    if (reason.empty()) reason = dlerror();
  }
  fail(ErrorCode::device, "cannot load cuDNN 9: {}; is its folder in LD_LIBRARY_PATH?", reason);
}

template <class Function>
void find(void* library, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  fx::check(function != nullptr, ErrorCode::device, "{} has no function {}", kName, name);
}

Cudnn load() {
  void* library = open_library();
  Cudnn dnn{};
  find(library, dnn.version, "cudnnGetVersion");
  find(library, dnn.create, "cudnnCreate");
  find(library, dnn.destroy, "cudnnDestroy");
  find(library, dnn.set_stream, "cudnnSetStream");
  find(library, dnn.error_string, "cudnnGetErrorString");
  find(library, dnn.last_error_string, "cudnnGetLastErrorString");
  find(library, dnn.create_descriptor, "cudnnBackendCreateDescriptor");
  find(library, dnn.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  find(library, dnn.set_attribute, "cudnnBackendSetAttribute");
  find(library, dnn.get_attribute, "cudnnBackendGetAttribute");
  find(library, dnn.finalize, "cudnnBackendFinalize");
  find(library, dnn.execute, "cudnnBackendExecute");
  return dnn;
}

}  // namespace

std::string Cudnn::reason(cudnnStatus_t status) const {
  const char* name = error_string(status);
  std::string text = name ? name : "unknown status";
  std::array<char, 1024> details{};
  last_error_string(details.data(), details.size() - 1);
  if (details[0]) text.append(" (").append(details.data()).append(")");
  return text;
}

void Cudnn::check(cudnnStatus_t status, const char* what) const {
  if (status != CUDNN_STATUS_SUCCESS) fail(ErrorCode::device, "cuDNN: {} failed: {}", what, reason(status));
}

const Cudnn& cudnn() {
  static const Cudnn functions = load();
  return functions;
}

}  // namespace fx::cuda
