// From the modules of a file to patches of a model.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "lora/delta.h"
#include "lora/file/describe.h"
#include "lora/file/read.h"
#include "lora/file/recognise.h"
#include "lora/file/shared_down.h"
#include "lora/messages.h"

namespace fx {
namespace {

// The name of the same module of the first block.
std::string in_first_block(const AdapterModule& place, const std::string& name) {
  const std::string index = fmt::format(".{}.", place.block);
  const size_t at = name.find(index);
  return at == std::string::npos ? name : name.substr(0, at) + ".0." + name.substr(at + index.size());
}

LowRank with_halves_exchanged(const LowRank& pair) { return {pair.a, pair.b.with_halves_exchanged()}; }

class Resolver {
 public:
  Resolver(AdapterFile file, const AdapterTarget& target, AbsentComponents absent)
      : file_(std::move(file)), target_(target), absent_(absent), sizes_(sizes_of(file_)) {}

  Adapter run() {
    for (FileModule& module : file_.modules) resolve(module);
    AdapterReport& report = file_.report;
    check(!report.matched.empty(), ErrorCode::bad_file,
          "{}: adapter of another model family: no key matches this FLUX.1 model; first keys: {}", label(),
          listed(report.unmatched));
    join_shared_down(adapter_.patches);
    adapter_.name = std::move(file_.name);
    adapter_.path = std::move(file_.path);
    adapter_.hash = std::move(file_.hash);
    adapter_.report = std::move(report);
    return std::move(adapter_);
  }

 private:
  // Where a change belongs in this model.
  struct Place {
    RowRange rows;  // count >= 1
    int64_t in;     // 1 for vectors
  };

  std::string label() const { return file_.path.string(); }

  void resolve(FileModule& module) {
    const bool absent = absent_ == AbsentComponents::kept && !target_.has(module.place.component);
    const auto place = absent ? std::optional(place_of_its_own(module)) : find(module);
    auto& list = place ? file_.report.matched : file_.report.unmatched;
    list.insert(list.end(), module.keys.begin(), module.keys.end());
    if (!place) return check_block(module);
    if (!absent) check_sizes(module, *place);
    if (module.low_rank()) add_patch(module, *place);
    else if (!module.changes_nothing()) add_dense(module, *place);
  }

  static Place place_of_its_own(const FileModule& module) {
    const DeltaShape shape = *shape_of(module.delta);
    const bool vector = module.is_bias() || module.place.kind == ModuleKind::norm;
    return vector ? Place{{0, shape.columns}, 1} : Place{{0, shape.rows}, shape.columns};
  }

  std::optional<Place> find(const FileModule& module) const {
    const AdapterModule& place = module.place;
    const Param* param = target_.find_parameter(place.component, module.parameter);
    if (!param || param->file_shape.rank() > 2) return std::nullopt;
    const int64_t out = param->file_shape[0], in = param->columns();
    if (place.part == FusedPart::all) return Place{{0, out}, in};
    const auto slot = target_.find_slot(place.component, place.canonical);
    if (!slot) return std::nullopt;
    const LoraSlot& layer = *target_.slots()[*slot].slot;
    return Place{rows_of(place.part, layer.in, layer.out), in};
  }

  void check_block(const FileModule& module) const {
    const AdapterModule& place = module.place;
    const bool beyond =
        place.block > 0 && target_.find_parameter(place.component, in_first_block(place, module.parameter));
    check(!beyond, ErrorCode::bad_file,
          "{}: {} is for a block that this model does not have; the adapter was made for another model{}", label(),
          in_quotes(module.keys[0]), family());
  }

  std::string family() const {
    const std::string_view family = likely_family(sizes_);
    const auto slot = target_.find_slot(Component::transformer, "single_blocks.0.linear1");
    const bool same_width = slot && target_.slots()[*slot].slot->in == sizes_.width;
    if (family.empty() || (family == kFlux1 && same_width)) return "";
    return fmt::format(", by its sizes {}", family);
  }

  void check_sizes(FileModule& module, const Place& place) {
    const DeltaShape found = *shape_of(module.delta);
    const bool vector = place.in == 1 && found.rows == 1;
    const int64_t rows = vector ? found.columns : found.rows, in = vector ? 1 : found.columns;
    if (module.place.canonical == "img_in" && in != place.in && fit_image_input(module, place, in)) return;
    if (const auto* pair = std::get_if<LowRank>(&module.delta)) {
      check(in == place.in, ErrorCode::bad_file,
            "{}: {}: expected ({}, {}) for this model, found ({}, {}); the adapter was made for another model{}",
            label(), in_quotes(module.keys[0]), pair->rank(), place.in, pair->rank(), in, family());
      check(rows == place.rows.count, ErrorCode::bad_file,
            "{}: {}: expected ({}, {}) for this model, found ({}, {}); the adapter was made for another model{}",
            label(), in_quotes(module.keys[1]), place.rows.count, pair->rank(), rows, pair->rank(), family());
    }
    check(rows == place.rows.count && in == place.in, ErrorCode::bad_file,
          "{}: {}: expected a change of ({}, {}) for this model, found ({}, {}); the adapter was made for another "
          "model{}",
          label(), in_quotes(module.keys[0]), place.rows.count, place.in, rows, in, family());
  }

  // Models of control images have more inputs than others. To those an adapter of the others adds nothing; the
  // contrary needs an image that nobody gives.
  bool fit_image_input(FileModule& module, const Place& place, int64_t in) const {
    auto* pair = std::get_if<LowRank>(&module.delta);
    if (!pair) return false;
    check(
        in < place.in, ErrorCode::unsupported,
        "{}: {}: the adapter is for control images (Canny, Depth): its image input takes {} channels, this model's {}; "
        "the {} channels of the control image cannot be applied",
        label(), in_quotes(module.keys[0]), in, place.in, in - place.in);
    pair->a = pair->a.with_columns(place.in);
    return pair->b.rows() == place.rows.count;
  }

  void add_patch(FileModule& module, const Place& place) {
    LowRank& pair = std::get<LowRank>(module.delta);
    if (module.place.exchange_halves) pair = with_halves_exchanged(pair);
    adapter_.patches.push_back(
        {std::move(pair), module.place.component, module.place.canonical, place.rows, module.scale});
  }

  void add_dense(FileModule& module, const Place& place) {
    adapter_.dense.push_back({.component = module.place.component,
                              .parameter = std::move(module.parameter),
                              .rows = place.rows,
                              .delta = std::move(module.delta),
                              .scale = module.scale,
                              .magnitude = std::move(module.magnitude),
                              .exchange_halves = module.place.exchange_halves,
                              .replaces = module.replaces,
                              .kind = module.kind});
  }

  AdapterFile file_;
  const AdapterTarget& target_;
  AbsentComponents absent_;
  TransformerSizes sizes_;  // of the file
  Adapter adapter_;
};

}  // namespace

Adapter resolve_adapter(AdapterFile file, const AdapterTarget& target, AbsentComponents absent) {
  return Resolver(std::move(file), target, absent).run();
}

}  // namespace fx
