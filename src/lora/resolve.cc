// From the modules of a file to patches of a model.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "lora/messages.h"
#include "lora/read.h"

namespace fx {
namespace {

// The name with its first number as 0: the same module of the first block.
std::string in_first_block(const std::string& module) {
  const size_t begin = module.find_first_of("0123456789");
  if (begin == 0 || begin == std::string::npos || module[begin - 1] != '.') return module;
  const size_t end = module.find_first_not_of("0123456789", begin);
  return module.substr(0, begin) + "0" + (end == std::string::npos ? "" : module.substr(end));
}

class Resolver {
 public:
  Resolver(AdapterFile file, const AdapterTarget& target) : file_(std::move(file)), target_(target) {}

  Adapter run() {
    for (FileModule& module : file_.modules) resolve(module);
    AdapterReport& report = file_.report;
    if (adapter_.patches.empty()) {
      fail(ErrorCode::bad_file, "{}: adapter of another model family: no key matches this FLUX.1 model; first keys: {}",
           label(), listed(report.unmatched));
    }
    adapter_.name = std::move(file_.name);
    adapter_.path = std::move(file_.path);
    adapter_.hash = std::move(file_.hash);
    adapter_.report = std::move(report);
    return std::move(adapter_);
  }

 private:
  std::string label() const { return file_.path.string(); }

  void resolve(FileModule& module) {
    const auto place = target_.find(module.component, module.module);
    auto& list = place ? file_.report.matched : file_.report.unmatched;
    list.insert(list.end(), module.keys.begin(), module.keys.end());
    if (!place) return check_block(module);
    check_sizes(module, *place);
    check_untaken(module, *place);
    Matrix b = place->exchange_halves ? module.b.with_halves_exchanged() : std::move(module.b);
    adapter_.patches.push_back({LowRank{std::move(module.a), std::move(b)}, module.component,
                                target_.slots()[place->slot].slot->module, place->rows, module.scale});
  }

  void check_block(const FileModule& module) const {
    const bool beyond = target_.find(module.component, in_first_block(module.module)).has_value();
    check(!beyond, ErrorCode::bad_file,
          "{}: {} is for a block that this model does not have; the adapter was made for another model", label(),
          in_quotes(module.keys[0]));
  }

  void check_sizes(const FileModule& module, const ModulePlace& place) const {
    const int64_t in = target_.slots()[place.slot].slot->in, out = place.rows.count;
    check(module.in == in, ErrorCode::bad_file,
          "{}: {}: expected ({}, {}) for this model, found ({}, {}); the adapter was made for another model", label(),
          in_quotes(module.keys[0]), module.rank, in, module.rank, module.in);
    check(module.out == out, ErrorCode::bad_file,
          "{}: {}: expected ({}, {}) for this model, found ({}, {}); the adapter was made for another model", label(),
          in_quotes(module.keys[1]), out, module.rank, module.out, module.rank);
  }

  void check_untaken(const FileModule& module, const ModulePlace& place) {
    auto& taken = taken_[place.slot];
    for (const auto& [rows, key] : taken) {
      const bool apart =
          rows.begin + rows.count <= place.rows.begin || place.rows.begin + place.rows.count <= rows.begin;
      check(apart, ErrorCode::bad_file, "{}: {} and {} both change the same rows of {}", label(), in_quotes(key),
            in_quotes(module.keys[0]), target_.slots()[place.slot].slot->module);
    }
    taken.emplace_back(place.rows, module.keys[0]);
  }

  AdapterFile file_;
  const AdapterTarget& target_;
  Adapter adapter_;
  std::map<size_t, std::vector<std::pair<RowRange, std::string>>> taken_;  // by slot
};

}  // namespace

Adapter resolve_adapter(AdapterFile file, const AdapterTarget& target) {
  return Resolver(std::move(file), target).run();
}

}  // namespace fx
