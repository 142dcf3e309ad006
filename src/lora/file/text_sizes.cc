#include "lora/file/text_sizes.h"

#include <map>

#include "core/error.h"
#include "lora/delta.h"
#include "lora/messages.h"

namespace fx {
namespace {

struct Witness {
  int64_t size;
  const std::string* key;
};

class Sizes {
 public:
  explicit Sizes(const std::string& label) : label_(label) {}

  void check_size(const FileModule& module, std::string_view name, int64_t size, const std::string& key) {
    if (name.empty()) return;
    const auto id = std::pair(module.place.component, name);
    const auto [found, added] = known_.emplace(id, Witness{size, &key});
    check(found->second.size == size, ErrorCode::bad_file,
          "{}: {}: its {} size of the {} is {}, but that of {} is {}; no encoder has both", label_, in_quotes(key),
          name, fx::name(module.place.component), size, in_quotes(*found->second.key), found->second.size);
  }

 private:
  const std::string& label_;
  std::map<std::pair<Component, std::string_view>, Witness> known_;
};

}  // namespace

void check_text_sizes(const std::vector<FileModule>& modules, const std::string& label) {
  Sizes sizes(label);
  for (const FileModule& module : modules) {
    const DeltaShape shape = *shape_of(module.delta);
    const std::string& out_key = module.keys.size() > 1 ? module.keys[1] : module.keys[0];
    const bool vector = module.is_bias() || module.place.kind == ModuleKind::norm;
    sizes.check_size(module, module.place.out, vector ? shape.columns : shape.rows, out_key);
    if (!vector) sizes.check_size(module, module.place.in, shape.columns, module.keys.front());
  }
}

}  // namespace fx
