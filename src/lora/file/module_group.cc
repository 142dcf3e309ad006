#include "lora/file/module_group.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "lora/delta.h"
#include "lora/file/describe.h"
#include "lora/messages.h"

namespace fx {
namespace {

// An integer of any width, little-endian.
double integer(DType dtype, std::span<const std::byte> bytes) {
  uint64_t bits = 0;
  for (size_t i = 0; i < bytes.size(); ++i) bits |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  const bool is_signed = dtype == DType::i64 || dtype == DType::i32 || dtype == DType::i16 || dtype == DType::i8;
  if (!is_signed) return static_cast<double>(bits);
  const int unused = 64 - 8 * static_cast<int>(bytes.size());
  return static_cast<double>(static_cast<int64_t>(bits << unused) >> unused);
}

class GroupReader {
 public:
  GroupReader(const ModuleGroup& group, FileContext& context, std::vector<FileModule>& modules)
      : group_(group), context_(context), modules_(modules) {}

  void run() {
    const int ways = has_any({KeyPart::down, KeyPart::up}) + has_hada() + has_lokr() + has(KeyPart::difference) +
                     has(KeyPart::new_value) + new_gain();
    check(ways <= 1, ErrorCode::bad_file, "{}: {} and {} both change the weight of module {}", label(),
          in_quotes(first_key()), in_quotes(last_weight_key()), module());
    if (has_any({KeyPart::down, KeyPart::up})) add_pair();
    else if (has_hada()) add_hada();
    else if (has_lokr()) add_lokr();
    else if (has(KeyPart::difference)) add_whole(KeyPart::difference, "difference");
    else if (has(KeyPart::new_value)) add_whole(KeyPart::new_value, "replacement");
    else if (new_gain()) add_whole(has(KeyPart::scale) ? KeyPart::scale : KeyPart::weight, "replacement");
    check(ways > 0 || !has_any({KeyPart::bias, KeyPart::magnitude, KeyPart::dora_scale}), ErrorCode::bad_file,
          "{}: {} has no partner: the matrices of module {} are missing", label(), in_quotes(first_key()), module());
    add_bias();
    list_unused();
  }

 private:
  const std::string& label() const { return context_.label; }
  std::string module() const { return in_quotes(group_.name); }
  bool has(KeyPart part) const { return group_[part]; }
  bool has_any(std::initializer_list<KeyPart> parts) const {
    return std::ranges::any_of(parts, [&](KeyPart part) { return has(part); });
  }
  bool has_hada() const {
    return has_any({KeyPart::hada_w1_a, KeyPart::hada_w1_b, KeyPart::hada_w2_a, KeyPart::hada_w2_b});
  }
  bool has_lokr() const {
    return has_any({KeyPart::lokr_w1, KeyPart::lokr_w1_a, KeyPart::lokr_w1_b, KeyPart::lokr_w2, KeyPart::lokr_w2_a,
                    KeyPart::lokr_w2_b});
  }
  // A norm's gain comes as the parameter itself.
  bool new_gain() const { return group_.place.kind == ModuleKind::norm && has_any({KeyPart::scale, KeyPart::weight}); }
  std::string first_key() const {
    const auto found = std::ranges::find_if(group_.tensors, [](const TensorInfo* info) { return info; });
    return (*found)->name;
  }
  std::string last_weight_key() const {
    std::string key;
    for (size_t i = 0; i < kKeyParts; ++i) {
      const auto part = static_cast<KeyPart>(i);
      const bool other = part == KeyPart::alpha || part == KeyPart::bias || part == KeyPart::bias_difference;
      if (group_.tensors[i] && !other) key = group_.tensors[i]->name;
    }
    return key;
  }

  // The tensor of a part that must be there because another one is.
  const TensorInfo& need(KeyPart part, std::string_view what) const {
    check(has(part), ErrorCode::bad_file, "{}: {} has no partner: {} of module {} is missing", label(),
          in_quotes(first_key()), what, module());
    return *group_[part];
  }

  // Starts a change, with the keys that describe it.
  FileModule start(std::initializer_list<KeyPart> parts, std::string_view parameter) {
    FileModule result{.place = group_.place, .name = group_.name};
    result.parameter = group_.place.canonical + std::string(parameter);
    for (const KeyPart part : parts) use(part, result);
    return result;
  }
  void use(KeyPart part, FileModule& module) {
    if (!has(part)) return;
    module.keys.push_back(group_[part]->name);
    used_[static_cast<size_t>(part)] = true;
  }

  void check_floating(const TensorInfo& info) const {
    check(is_floating(info.dtype), ErrorCode::bad_file, "{}: {}: expected a floating type, found {}", label(),
          in_quotes(info.name), fx::name(info.dtype));
    note(context_.report.dtypes, fx::name(info.dtype));
  }

  // Convolutions of size 1 are matrices too.
  Matrix matrix(const TensorInfo& info) {
    const Shape& shape = info.shape;
    const bool fits = shape.rank() == 2 || (shape.rank() == 4 && shape[2] == 1 && shape[3] == 1);
    check(fits && shape[0] > 0 && shape[1] > 0, ErrorCode::bad_file, "{}: {}: expected a matrix, found shape {}",
          label(), in_quotes(info.name), to_string(shape));
    check_floating(info);
    return context_.data.matrix(info, shape[0], shape[1]);
  }

  // (1, n)
  Matrix row(const TensorInfo& info) {
    check(info.shape.count() > 0 && info.shape.rank() == 1, ErrorCode::bad_file,
          "{}: {}: expected a vector, found shape {}", label(), in_quotes(info.name), to_string(info.shape));
    check_floating(info);
    return context_.data.matrix(info, 1, info.shape.count());
  }

  // A product b a of two parts.
  LowRank product(const TensorInfo& a, const TensorInfo& b, std::string_view a_name, std::string_view b_name) {
    LowRank pair{matrix(a), matrix(b)};
    check(pair.a.rows() == pair.b.columns(), ErrorCode::bad_file,
          "{}: module {}: {} {} and {} {} have different ranks, {} and {}", label(), module(), a_name,
          to_string(a.shape), b_name, to_string(b.shape), pair.a.rows(), pair.b.columns());
    return pair;
  }

  void add_pair() {
    const TensorInfo& a = need(KeyPart::down, "lora_A");
    const TensorInfo& b = need(KeyPart::up, "lora_B");
    FileModule result = start({KeyPart::down, KeyPart::up}, group_.place.weight);
    LowRank pair = product(a, b, "A", "B");
    result.rank = pair.rank();
    const auto stated = context_.rules.scale(group_.place.component, group_.name, result.rank);
    result.alpha = context_.rules.alpha(group_.place.component, group_.name);
    set_scale(result, stated);
    result.delta = std::move(pair);
    if (has(KeyPart::bias)) {
      FileModule bias = start({KeyPart::bias}, ".bias");
      bias.delta = FullDelta{row(*group_[KeyPart::bias])};
      bias.scale = result.scale;
      bias.kind = "bias";
      modules_.push_back(std::move(bias));
    }
    finish(std::move(result));
  }

  void add_hada() {
    const TensorInfo& w1_a = need(KeyPart::hada_w1_a, "hada_w1_a");
    const TensorInfo& w1_b = need(KeyPart::hada_w1_b, "hada_w1_b");
    const TensorInfo& w2_a = need(KeyPart::hada_w2_a, "hada_w2_a");
    const TensorInfo& w2_b = need(KeyPart::hada_w2_b, "hada_w2_b");
    FileModule result =
        start({KeyPart::hada_w1_a, KeyPart::hada_w1_b, KeyPart::hada_w2_a, KeyPart::hada_w2_b}, group_.place.weight);
    HadamardDelta delta{product(w1_b, w1_a, "hada_w1_b", "hada_w1_a"), product(w2_b, w2_a, "hada_w2_b", "hada_w2_a")};
    check(shape_of(Delta(delta)).has_value(), ErrorCode::bad_file,
          "{}: module {}: the products of LoHa have different sizes, ({}, {}) and ({}, {})", label(), module(),
          delta.first.b.rows(), delta.first.a.columns(), delta.second.b.rows(), delta.second.a.columns());
    result.rank = delta.first.rank();
    result.kind = "LoHa";
    set_scale(result);
    result.delta = std::move(delta);
    finish(std::move(result));
  }

  KroneckerDelta::Factor factor(KeyPart whole, KeyPart a, KeyPart b, std::string_view name, FileModule& module) {
    check(!has(whole) || !has_any({a, b}), ErrorCode::bad_file, "{}: module {} has {} both whole and in two parts",
          label(), this->module(), name);
    if (has(whole)) {
      use(whole, module);
      return matrix(*group_[whole]);
    }
    const std::string a_name = std::string(name) + "_a", b_name = std::string(name) + "_b";
    check(has_any({a, b}), ErrorCode::bad_file, "{}: {} has no partner: {} of module {} is missing", label(),
          in_quotes(first_key()), name, this->module());
    const TensorInfo& first = need(a, a_name);
    const TensorInfo& second = need(b, b_name);
    use(a, module);
    use(b, module);
    LowRank pair = product(second, first, b_name, a_name);
    module.rank = pair.rank();
    return pair;
  }

  void add_lokr() {
    FileModule result = start({}, group_.place.weight);
    KroneckerDelta delta;
    delta.w1 = factor(KeyPart::lokr_w1, KeyPart::lokr_w1_a, KeyPart::lokr_w1_b, "lokr_w1", result);
    delta.w2 = factor(KeyPart::lokr_w2, KeyPart::lokr_w2_a, KeyPart::lokr_w2_b, "lokr_w2", result);
    result.kind = "LoKr";
    // Two whole factors have no rank by which alpha could be divided; trainers write anything there, infinity too.
    if (result.rank > 0) set_scale(result);
    else use(KeyPart::alpha, result), warn_of_unused_alpha();
    result.delta = std::move(delta);
    finish(std::move(result));
  }

  // Some programs scale whole factors all the same, by a rank that only the metadata have.
  void warn_of_unused_alpha() {
    const auto& metadata = context_.report.metadata;
    const auto dim = metadata.find("ss_network_dim"), alpha = metadata.find("ss_network_alpha");
    if (dim == metadata.end() || alpha == metadata.end()) return;
    const double rank = std::strtod(dim->second.c_str(), nullptr), value = std::strtod(alpha->second.c_str(), nullptr);
    if (rank == value) return;
    warn(
        fmt::format("its LoKr factors are whole, so alpha plays no part, but its metadata have dim {} and alpha {}; "
                    "programs that divide them show another strength",
                    rank, value));
  }

  // The difference or the new value as it is.
  void add_whole(KeyPart part, std::string_view kind) {
    const bool vector = group_.place.kind == ModuleKind::norm;
    FileModule result = start({part}, group_.place.weight);
    result.delta = FullDelta{vector ? row(*group_[part]) : matrix(*group_[part])};
    result.replaces = part != KeyPart::difference;
    result.kind = vector ? "norm" : kind;
    finish(std::move(result));
  }

  void add_bias() {
    if (!has(KeyPart::bias_difference)) return;
    const TensorInfo& info = *group_[KeyPart::bias_difference];
    check(!has(KeyPart::bias), ErrorCode::bad_file, "{}: {} and the bias of its LoRA both change the bias of module {}",
          label(), in_quotes(info.name), module());
    FileModule result = start({KeyPart::bias_difference}, ".bias");
    result.delta = FullDelta{row(info)};
    result.kind = "bias";
    modules_.push_back(std::move(result));
  }

  void finish(FileModule result) {
    add_magnitude(result);
    modules_.push_back(std::move(result));
  }

  void add_magnitude(FileModule& result) {
    if (!has_any({KeyPart::magnitude, KeyPart::dora_scale})) return;
    check(!has(KeyPart::magnitude) || !has(KeyPart::dora_scale), ErrorCode::bad_file,
          "{}: module {} has two DoRA magnitudes", label(), module());
    const KeyPart part = has(KeyPart::magnitude) ? KeyPart::magnitude : KeyPart::dora_scale;
    const TensorInfo& info = *group_[part];
    use(part, result);
    check_floating(info);
    const DeltaShape size = *shape_of(result.delta);
    const Shape& shape = info.shape;
    // A matrix of one row belongs to the inputs; to_q is square, so nothing but the shape tells.
    const bool per_column = part == KeyPart::dora_scale && shape.rank() >= 2 && shape[0] == 1 && size.rows > 1;
    const int64_t expected = per_column ? size.columns : size.rows;
    check(shape.count() == expected, ErrorCode::bad_file,
          "{}: {}: expected a DoRA magnitude of shape ({}), ({}, 1) or (1, {}), found {}", label(),
          in_quotes(info.name), size.rows, size.rows, size.columns, to_string(shape));
    result.magnitude = Magnitude{finite_values(context_.source, info, label()), per_column};
    result.kind = result.kind == "LoKr" ? "DoRA of LoKr" : result.kind == "LoHa" ? "DoRA of LoHa" : "DoRA";
  }

  // alpha / rank, or the scale itself; `stated` is that of the metadata.
  void set_scale(FileModule& result, std::optional<float> stated = {}) {
    const bool own_scale = has(KeyPart::scale);
    check(!own_scale || !has(KeyPart::alpha), ErrorCode::bad_file, "{}: module {} has both .alpha and .scale", label(),
          module());
    result.scale = stated.value_or(1.0f);
    if (!own_scale && !has(KeyPart::alpha)) return;
    if (stated) warn("the file has both .alpha keys and adapter metadata; the keys are used");
    const KeyPart part = own_scale ? KeyPart::scale : KeyPart::alpha;
    const double value = number(*group_[part]);
    use(part, result);
    if (own_scale) {
      result.scale = static_cast<float>(value);
      result.alpha.reset();
      return;
    }
    if (value == 0) warn("some .alpha keys are 0: those modules have no effect");
    result.alpha = value;
    result.scale = static_cast<float>(value / static_cast<double>(result.rank));
  }

  double number(const TensorInfo& info) const {
    check(info.shape.count() == 1 && info.dtype != DType::boolean, ErrorCode::bad_file,
          "{}: {}: expected one number, found shape {} of {}", label(), in_quotes(info.name), to_string(info.shape),
          fx::name(info.dtype));
    if (is_floating(info.dtype)) return finite_values(context_.source, info, label())[0];
    return integer(info.dtype, context_.source.bytes(info));
  }

  // Keys that belong to no change: an alpha alone, the weight of a layer.
  void list_unused() {
    for (size_t i = 0; i < kKeyParts; ++i) {
      if (!group_.tensors[i] || used_[i]) continue;
      const bool resize = static_cast<KeyPart>(i) == KeyPart::resize;  // the matrices say it too
      const bool idle_alpha = static_cast<KeyPart>(i) == KeyPart::alpha && has(KeyPart::difference);
      auto& list = resize || idle_alpha ? context_.report.ignored : context_.report.unmatched;
      list.push_back(group_.tensors[i]->name);
    }
  }

  void warn(const std::string& sentence) { note(context_.report.warnings, sentence); }

  const ModuleGroup& group_;
  FileContext& context_;
  std::vector<FileModule>& modules_;
  std::array<bool, kKeyParts> used_{};
};

}  // namespace

void build_modules(const ModuleGroup& group, FileContext& context, std::vector<FileModule>& modules) {
  GroupReader(group, context, modules).run();
}

}  // namespace fx
