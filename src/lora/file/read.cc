#include "lora/file/read.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <unordered_map>

#include "core/error.h"
#include "io/safetensors.h"
#include "lora/file/describe.h"
#include "lora/file/module_group.h"
#include "lora/file/recognise.h"
#include "lora/file/text_sizes.h"
#include "lora/messages.h"

namespace fx {

bool FileModule::low_rank() const {
  return std::holds_alternative<LowRank>(delta) && !magnitude && place.kind == ModuleKind::linear;
}

bool FileModule::changes_nothing() const {
  const auto* whole = std::get_if<FullDelta>(&delta);
  if (!whole || replaces || magnitude) return false;
  return std::ranges::all_of(whole->values.values(), [](float value) { return value == 0; });
}

namespace {

namespace fs = std::filesystem;

class AdapterReader {
 public:
  explicit AdapterReader(const fs::path& path)
      : label_(path.string()),
        source_(open_safetensors(path)),
        context_{label_, *source_, {}, AdapterData(*source_), file_.report} {
    file_.name = path.stem().string();
    file_.path = path;
    file_.report.bytes = fs::file_size(path);
    file_.report.metadata = source_->metadata();
    file_.hash = FileHash(path, source_->tensors().empty() ? 0 : source_->tensors()[0].begin);
  }

  AdapterFile read() {
    const std::vector<std::string> keys = source_->names();
    refuse_other_family(keys, label_);
    for (const TensorInfo& info : source_->tensors()) sort_key(info);
    check(!unsupported_, ErrorCode::unsupported, "{}: key {} belongs to {}, which is not supported", label_,
          in_quotes(unsupported_ ? unsupported_->name : ""), unsupported_algorithm_);
    if (!is_adapter_) refuse_not_an_adapter(keys, label_);
    read_rules();
    for (const ModuleGroup& group : groups_) build_modules(group, context_, file_.modules);
    if (file_.modules.empty()) refuse_no_module();
    check_overlaps();
    check_text_sizes(file_.modules, label_);
    context_.data.load(label_);
    describe(file_);
    return std::move(file_);
  }

 private:
  // Puts a tensor to its module, or into the report.
  void sort_key(const TensorInfo& info) {
    const auto key = parse_adapter_key(info.name);
    if (!key) return file_.report.unmatched.push_back(info.name);
    if (key->part == KeyPart::unsupported) {
      unsupported_ = &info;
      unsupported_algorithm_ = key->algorithm;
      return;
    }
    is_adapter_ = is_adapter_ || (key->part != KeyPart::weight && key->part != KeyPart::scale &&
                                  key->part != KeyPart::alpha && key->part != KeyPart::unused);
    if (key->part == KeyPart::unused) return file_.report.ignored.push_back(info.name);
    if (!key->module) return file_.report.unmatched.push_back(info.name);
    if (key->module->kind == ModuleKind::unused) return ignore(info, *key);
    ++file_.report.formats[std::string(key->format)];
    peft_folder_ = peft_folder_ || info.name.starts_with("base_model.model.");
    add_to_group(*key, info);
  }

  // Tools that compare two models write zeros for what is the same.
  void ignore(const TensorInfo& info, const AdapterKey& key) {
    file_.report.ignored.push_back(info.name);
    if (key.part == KeyPart::down || key.part == KeyPart::alpha) return;
    const bool zero = std::ranges::all_of(source_->bytes(info), [](std::byte byte) { return byte == std::byte{0}; });
    if (!zero) warn("the file changes CLIP's text projection, which FLUX.1 does not use");
  }

  void add_to_group(const AdapterKey& key, const TensorInfo& info) {
    const std::string id =
        fmt::format("{}/{}/{}", name(key.module->component), key.module->canonical, static_cast<int>(key.module->part));
    const auto [found, added] = index_.emplace(id, groups_.size());
    if (added) groups_.push_back({*key.module, std::string(key.name)});
    ModuleGroup& group = groups_[found->second];
    check(group.place.exchange_halves == key.module->exchange_halves, ErrorCode::bad_file,
          "{}: {} is of module {} by a name that has its rows in another order", label_, in_quotes(info.name),
          in_quotes(group.name));
    const TensorInfo*& place = group[key.part];
    check(!place, ErrorCode::bad_file, "{}: keys {} and {} are the same part of one module", label_,
          in_quotes(place ? place->name : ""), in_quotes(info.name));
    place = &info;
  }

  // PEFT's configuration: in the header, or in a file beside the adapter.
  void read_rules() {
    const auto header = file_.report.metadata.find("lora_adapter_metadata");
    if (header != file_.report.metadata.end()) {
      context_.rules = ScaleRules(header->second, label_);
    } else if (peft_folder_) {
      read_rules_beside_the_file();
    }
    check(!context_.rules.use_dora() || has_magnitudes(), ErrorCode::bad_file,
          "{}: adapter metadata: use_dora is true, but the file has no DoRA magnitudes", label_);
  }

  void read_rules_beside_the_file() {
    const fs::path config = file_.path.parent_path() / "adapter_config.json";
    std::ifstream stream(config, std::ios::binary);
    if (stream) {
      std::ostringstream text;
      text << stream.rdbuf();
      context_.rules = ScaleRules(text.str(), config.string());
    } else if (std::ranges::none_of(groups_, [](const ModuleGroup& group) { return group[KeyPart::alpha]; })) {
      warn("adapter_config.json is not beside the file; alpha is taken to be the rank");
    }
  }

  bool has_magnitudes() const {
    return std::ranges::any_of(
        groups_, [](const ModuleGroup& group) { return group[KeyPart::magnitude] || group[KeyPart::dora_scale]; });
  }

  // Whatever the spelling, one parameter is changed once.
  void check_overlaps() const {
    std::unordered_map<std::string, std::vector<const FileModule*>> by_parameter;
    for (const FileModule& module : file_.modules) {
      auto& others = by_parameter[fmt::format("{}/{}", name(module.place.component), module.parameter)];
      for (const FileModule* other : others) {
        check(!overlap(module.place.part, other->place.part), ErrorCode::bad_file,
              "{}: {} and {} both change the same rows of {}", label_, in_quotes(other->keys[0]),
              in_quotes(module.keys[0]), module.parameter);
      }
      others.push_back(&module);
    }
  }

  [[noreturn]] void refuse_no_module() const {
    const auto& keys = file_.report.unmatched.empty() ? file_.report.ignored : file_.report.unmatched;
    fail(ErrorCode::bad_file,
         "{}: adapter of another model family: no key matches FLUX.1's transformer, CLIP-L or T5; first keys: {}",
         label_, listed(keys));
  }

  void warn(const std::string& sentence) { note(file_.report.warnings, sentence); }

  std::string label_;
  std::unique_ptr<TensorSource> source_;
  AdapterFile file_;
  std::vector<ModuleGroup> groups_;
  std::unordered_map<std::string, size_t> index_;  // component, module and part -> group
  const TensorInfo* unsupported_ = nullptr;
  std::string_view unsupported_algorithm_;
  bool is_adapter_ = false;  // has a key that nothing but adapters have
  bool peft_folder_ = false;
  FileContext context_;
};

}  // namespace

AdapterFile read_adapter_file(const fs::path& path) {
  const auto start = std::chrono::steady_clock::now();
  AdapterFile file = AdapterReader(path).read();
  file.report.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return file;
}

Adapter read_adapter(const fs::path& path, const AdapterTarget& target) {
  return resolve_adapter(read_adapter_file(path), target);
}

void require_complete(const AdapterReport& report, const fs::path& path) {
  const std::vector<std::string>& keys = report.unmatched;
  check(keys.empty(), ErrorCode::bad_file, "{}: {} of its keys {} nothing: {}", path.string(), keys.size(),
        keys.size() == 1 ? "matches" : "match", listed(keys, keys.size()));
}

}  // namespace fx
