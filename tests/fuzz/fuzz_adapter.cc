// Whatever the bytes of an adapter file are, reading it ends in an adapter of which every change has its place in the
// model, or in an Error of one line.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "fuzz/with_length.h"
#include "lora/file/adapter_key.h"
#include "lora/file/read.h"
#include "lora/patch_change.h"
#include "lora/tiny_model.h"

namespace {

// A file in memory under a name.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(memfd_create("adapter", 0)) {
    if (write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

void check_adapter(const fx::Adapter& adapter, const fx::AdapterTarget& target) {
  if (adapter.report.matched.empty()) std::abort();
  for (const fx::Patch& patch : adapter.patches) {
    const auto slot = target.find_slot(patch.component, patch.module);
    if (!slot || patch.in() != target.slots()[*slot].slot->in || patch.b.rows() != patch.rows.count) std::abort();
    if (patch.rows.begin < 0 || patch.rows.begin + patch.rows.count > target.slots()[*slot].slot->out) std::abort();
  }
  for (const fx::DensePatch& patch : adapter.dense) {
    const fx::Param* param = target.find_parameter(patch.component, patch.parameter);
    if (!param) std::abort();
    const int64_t in = param->file_shape.rank() == 2 ? param->file_shape[1] : 1;
    const std::vector<float> base(static_cast<size_t>(patch.rows.count * in), 0.5f);
    if (fx::effective_delta(patch, base, in, 1.0f).size() != base.size()) std::abort();
  }
}

void read_file(std::string_view bytes) {
  static const fx::test::TinyModel model;
  const MemoryFile file(bytes);
  try {
    check_adapter(fx::read_adapter(file.path(), model.target), model.target);
  } catch (const fx::Error& error) {
    const bool known = error.code() == fx::ErrorCode::bad_file || error.code() == fx::ErrorCode::unsupported;
    if (!known || std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

void read_key(std::string_view key) {
  const auto parsed = fx::parse_adapter_key(key);
  if (parsed && key.find(parsed->name) == std::string_view::npos) std::abort();
  if (parsed && parsed->module && parsed->module->canonical.find('*') != std::string::npos) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  read_key(input);
  read_file(input);
  read_file(with_length(input));
  return 0;
}
