#include "lora/read.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <sstream>
#include <unordered_map>

#include "core/error.h"
#include "io/safetensors.h"
#include "lora/describe.h"
#include "lora/format.h"
#include "lora/messages.h"
#include "lora/recognise.h"
#include "lora/scale_rules.h"

namespace fx {
namespace {

namespace fs = std::filesystem;

// The tensors of one module of the file.
struct Group {
  AdapterKey key;
  const TensorInfo *down = nullptr, *up = nullptr, *alpha = nullptr;
};

class AdapterReader {
 public:
  explicit AdapterReader(const fs::path& path) : label_(path.string()), source_(open_safetensors(path)) {
    file_.name = path.stem().string();
    file_.path = path;
    file_.report.bytes = fs::file_size(path);
    file_.hash = FileHash(path, source_->tensors().empty() ? 0 : source_->tensors()[0].begin);
    file_.report.metadata = source_->metadata();
  }

  AdapterFile read() {
    const std::vector<std::string> keys = source_->names();
    refuse_other_family(keys, label_);
    sort_keys();
    refuse_other_format(file_.report.unmatched, label_);
    check(!unsupported_, ErrorCode::unsupported, "{}: key {} belongs to {}, which is not supported yet", label_,
          in_quotes(unsupported_key_), unsupported_ ? unsupported_->algorithm : "");
    if (groups_.empty()) refuse_not_an_adapter(keys, label_);
    read_rules();
    for (const Group& group : groups_) read_group(group);
    if (file_.modules.empty()) refuse_not_an_adapter(keys, label_);
    file_.report.format = fmt::format("{}", fmt::join(formats_, " + "));
    describe(file_);
    return std::move(file_);
  }

 private:
  void sort_keys() {
    for (const TensorInfo& info : source_->tensors()) {
      const auto key = parse(info.name);
      if (!key) file_.report.unmatched.push_back(info.name);
      else if (key->part == KeyPart::ignored) file_.report.ignored.push_back(info.name);
      else if (key->part != KeyPart::unsupported) add_to_group(*key, info);
      else if (!unsupported_) {
        unsupported_ = key;
        unsupported_key_ = info.name;
      }
    }
  }

  std::optional<AdapterKey> parse(std::string_view key) {
    if (key.starts_with("bundle_emb.")) return AdapterKey{.part = KeyPart::ignored};
    for (const AdapterFormat& format : adapter_formats()) {
      if (auto parsed = format.parse(key)) {
        if (parsed->part == KeyPart::down) note(formats_, format.name);
        peft_folder_ = peft_folder_ || key.starts_with("base_model.model.");
        return parsed;
      }
    }
    return std::nullopt;
  }

  void add_to_group(const AdapterKey& key, const TensorInfo& info) {
    const auto [found, added] = index_.emplace(std::string(name(key.component)) + "." + key.module, groups_.size());
    if (added) groups_.push_back({key});
    Group& group = groups_[found->second];
    const TensorInfo*& place = key.part == KeyPart::down ? group.down
                               : key.part == KeyPart::up ? group.up
                                                         : group.alpha;
    check(!place, ErrorCode::bad_file, "{}: keys {} and {} are the same part of one module", label_,
          in_quotes(place ? place->name : ""), in_quotes(info.name));
    place = &info;
  }

  // PEFT's configuration: in the header, or in a file beside the adapter.
  void read_rules() {
    const auto header = file_.report.metadata.find("lora_adapter_metadata");
    if (header != file_.report.metadata.end()) {
      rules_ = ScaleRules(header->second, label_);
      return;
    }
    if (!peft_folder_) return;
    const fs::path config = file_.path.parent_path() / "adapter_config.json";
    std::ifstream stream(config, std::ios::binary);
    if (stream) {
      std::ostringstream text;
      text << stream.rdbuf();
      rules_ = ScaleRules(text.str(), config.string());
    } else if (std::ranges::none_of(groups_, [](const Group& group) { return group.alpha; })) {
      warn("adapter_config.json is not beside the file; alpha is taken to be the rank");
    }
  }

  void read_group(const Group& group) {
    if (!group.down && !group.up) {  // an alpha alone says nothing
      file_.report.unmatched.push_back(group.alpha->name);
      return;
    }
    check(group.down && group.up, ErrorCode::bad_file, "{}: {} has no partner: lora_{} of module {} is missing", label_,
          in_quotes((group.down ? group.down : group.up)->name), group.down ? "B" : "A", in_quotes(group.key.module));
    FileModule module{
        .component = group.key.component, .module = group.key.module, .keys = {group.down->name, group.up->name}};
    const auto [rank, in] = matrix_shape(*group.down);
    const auto [out, columns] = matrix_shape(*group.up);
    check(rank == columns, ErrorCode::bad_file, "{}: module {}: A {} and B {} have different ranks, {} and {}", label_,
          in_quotes(group.key.module), to_string(group.down->shape), to_string(group.up->shape), rank, columns);
    module.rank = rank;
    module.in = in;
    module.out = out;
    module.scale = scale_of(group, rank);
    if (group.alpha) module.keys.push_back(group.alpha->name);
    module.a = matrix(*group.down, rank, in);
    module.b = matrix(*group.up, out, rank);
    note(file_.report.dtypes, name(group.down->dtype));
    file_.modules.push_back(std::move(module));
  }

  // (rows, columns). Convolutions of size 1 are matrices too.
  std::pair<int64_t, int64_t> matrix_shape(const TensorInfo& info) const {
    const Shape& shape = info.shape;
    const bool matrix = shape.rank() == 2 || (shape.rank() == 4 && shape[2] == 1 && shape[3] == 1);
    check(matrix && shape[0] > 0 && shape[1] > 0, ErrorCode::bad_file, "{}: {}: expected a matrix, found shape {}",
          label_, in_quotes(info.name), to_string(shape));
    check(is_floating(info.dtype), ErrorCode::bad_file, "{}: {}: expected a floating type, found {}", label_,
          in_quotes(info.name), name(info.dtype));
    return {shape[0], shape[1]};
  }

  std::vector<float> values(const TensorInfo& info) const {
    std::vector<float> result(static_cast<size_t>(info.shape.count()));
    convert_to_f32(info.dtype, source_->bytes(info).data(), result.data(), result.size());
    source_->release(info);
    const auto bad = std::ranges::find_if(result, [](float value) { return !std::isfinite(value); });
    check(bad == result.end(), ErrorCode::bad_file, "{}: {} has values that are not finite (first: {} at element {})",
          label_, in_quotes(info.name), bad == result.end() ? 0.0f : *bad, bad - result.begin());
    return result;
  }

  Matrix matrix(const TensorInfo& info, int64_t rows, int64_t columns) const {
    values(info);  // finite
    Matrix result(rows, columns, info.dtype, source_->bytes(info));
    source_->release(info);
    return result;
  }

  float scale_of(const Group& group, int64_t rank) {
    const auto stated = rules_.scale(group.key.component, group.key.module, rank);
    if (!group.alpha) return stated.value_or(1.0f);
    if (stated) warn("the file has both .alpha keys and adapter metadata; the keys are used");
    const float alpha = alpha_value(*group.alpha);
    if (alpha == 0) warn("some .alpha keys are 0: those modules have no effect");
    return static_cast<float>(static_cast<double>(alpha) / static_cast<double>(rank));
  }

  float alpha_value(const TensorInfo& info) const {
    check(info.shape.count() == 1 && info.dtype != DType::boolean, ErrorCode::bad_file,
          "{}: {}: expected one number, found shape {} of {}", label_, in_quotes(info.name), to_string(info.shape),
          name(info.dtype));
    if (is_floating(info.dtype)) return values(info)[0];
    const std::span<const std::byte> bytes = source_->bytes(info);
    uint64_t bits = 0;  // little-endian
    for (size_t i = 0; i < bytes.size(); ++i) bits |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    const bool is_signed =
        info.dtype == DType::i64 || info.dtype == DType::i32 || info.dtype == DType::i16 || info.dtype == DType::i8;
    if (!is_signed) return static_cast<float>(bits);
    const int unused = 64 - 8 * static_cast<int>(bytes.size());
    return static_cast<float>(static_cast<int64_t>(bits << unused) >> unused);
  }

  void warn(const std::string& sentence) { note(file_.report.warnings, sentence); }

  std::string label_;
  std::unique_ptr<TensorSource> source_;
  AdapterFile file_;
  std::vector<Group> groups_;
  std::unordered_map<std::string, size_t> index_;  // component and module -> group
  std::vector<std::string> formats_;
  std::optional<AdapterKey> unsupported_;
  std::string unsupported_key_;
  bool peft_folder_ = false;
  ScaleRules rules_;
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

}  // namespace fx
