#include "nn/bind.h"

#include <unordered_map>

#include "core/error.h"
#include "nn/weight_writer.h"

namespace fx {
namespace {

// What a file's tensor fills.
struct Piece {
  const TensorInfo* info;
  const Param* param;
  RowRange rows;
  bool exchange_halves;
};

// Finds the place of every tensor, and everything that is wrong, before anything is read.
class Plan {
 public:
  Plan(const ParamStore& store, const TensorSource& source, const NameMap& names) : source_(source), names_(names) {
    for (const Param& param : store.params()) params_.emplace(param.name, Entry{&param});
    for (const TensorInfo& info : source_.tensors()) {
      if (!names_.ignored(info.name)) add(info);
    }
    for (const Param& param : store.params()) {
      const int64_t expected = param.file_shape[0], bound = params_.at(param.name).rows_bound;
      if (bound == 0) problems_.push_back("missing " + param.name + " " + to_string(param.file_shape));
      else if (bound < expected) problems_.push_back(fmt::format("missing rows of {}: {} of {} found", param.name, bound, expected));
    }
  }

  const std::vector<std::string>& problems() const { return problems_; }
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  struct Entry {
    const Param* param;
    int64_t rows_bound = 0;
  };

  void add(const TensorInfo& info) {
    const auto original = names_.tied_to(info.name);
    if (original && source_.find(*original)) return;
    const auto target = names_.parameter(original.value_or(info.name));
    const auto found = target ? params_.find(target->name) : params_.end();
    if (found == params_.end()) {
      problems_.push_back("unexpected " + info.name);
      return;
    }
    auto& [param, rows_bound] = found->second;
    const RowRange rows = target->rows.whole() ? RowRange{0, param->file_shape[0]} : target->rows;
    Shape expected = param->file_shape;
    expected[0] = rows.count;
    if (info.shape != expected) {
      problems_.push_back(fmt::format("{}: expected {}, found {}", info.name, to_string(expected), to_string(info.shape)));
    } else if (!is_floating(info.dtype)) {
      problems_.push_back(fmt::format("{}: expected a floating type, found {}", info.name, name(info.dtype)));
    } else if (rows_bound + rows.count > param->file_shape[0]) {
      problems_.push_back(fmt::format("{}: {} is stored more than once", info.name, param->name));
    } else {
      pieces_.push_back({&info, param, rows, target->exchange_halves});
    }
    rows_bound += rows.count;
  }

  const TensorSource& source_;
  const NameMap& names_;
  std::unordered_map<std::string, Entry> params_;
  std::vector<std::string> problems_;
  std::vector<Piece> pieces_;
};

}  // namespace

void clear_fronts(Ops& ops, const ParamStore& store) {
  FoldLorasArgs fronts;
  for (const Param& param : store.params()) {
    if (param.front.defined())
      fronts.layers.push_back({.lora = {},
                               .weight_scale = param.scale,
                               .weight_front = param.front,
                               .weight_down = param.down,
                               .column_scale = param.column_scale,
                               .room = {},
                               .reach = {}});
  }
  if (!fronts.layers.empty()) ops.fold_loras(fronts);
}

void bind_params(Ops& ops, ParamStore& store, const TensorSource& source, const NameMap& names,
                 const std::string& component, const LoadProgress& progress) {
  const Plan plan(store, source, names);
  if (plan.problems().empty()) {
    WeightWriter writer(ops);
    for (const Piece& piece : plan.pieces()) {
      writer.add({piece.info->dtype, [&] { return source.bytes(*piece.info); }, [&] { source.release(*piece.info); },
                  piece.param, piece.rows, piece.exchange_halves});
    }
    writer.run(progress);
    clear_fronts(ops, store);
    return;
  }
  std::string list;
  for (const std::string& problem : plan.problems()) list += (list.empty() ? "" : "; ") + problem;
  fail(ErrorCode::bad_file, "{}: {} does not fit its config ({} problem{}): {}", component, source.path().string(),
       plan.problems().size(), plan.problems().size() == 1 ? "" : "s", list);
}

}  // namespace fx
