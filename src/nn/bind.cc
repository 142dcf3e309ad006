#include "nn/bind.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"

namespace fx {
namespace {

constexpr int64_t kChunk = 256 * 1024;  // elements converted at a time: stays in a core's cache

class Binder {
 public:
  Binder(ParamStore& store, const TensorSource& source, const NameMap& names) : store_(store), source_(source), names_(names) {
    for (const Param& param : store.params()) params_.emplace(param.name, Entry{&param});
  }

  void run() {
    for (const TensorInfo& info : source_.tensors()) {
      if (!names_.ignored(info.name)) bind(info);
    }
    for (const Param& param : store_.params()) {
      const int64_t expected = param.file_shape[0], bound = params_.at(param.name).rows_bound;
      if (bound == 0) problems_.push_back("missing " + param.name + " " + to_string(param.file_shape));
      else if (bound < expected) problems_.push_back(fmt::format("missing rows of {}: {} of {} found", param.name, bound, expected));
    }
  }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  struct Entry {
    const Param* param;
    int64_t rows_bound = 0;
  };

  void bind(const TensorInfo& info) {
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
    } else if (problems_.empty()) {  // nothing to gain from reading on after a problem
      fill(info, *param, rows, target->exchange_halves);
    }
    rows_bound += rows.count;
  }

  void fill(const TensorInfo& info, const Param& param, const RowRange& rows, bool exchange_halves) {
    const std::byte* data = source_.bytes(info).data();
    const Tensor target = param.tensor.slice(0, rows.begin, rows.begin + rows.count);
    if (param.layout == ParamLayout::channels_last) {
      fill_channels_last(info, data, target);
    } else if (exchange_halves) {
      const int64_t half = rows.count / 2;
      const int64_t half_bytes = target.bytes() / 2 / static_cast<int64_t>(sizeof(float)) * static_cast<int64_t>(size_of(info.dtype));
      fill_rows(info.dtype, data, target.slice(0, half, rows.count));
      fill_rows(info.dtype, data + half_bytes, target.slice(0, 0, half));
    } else {
      fill_rows(info.dtype, data, target);
    }
    source_.release(info);
  }

  void fill_rows(DType dtype, const std::byte* data, const Tensor& target) {
    staging_.resize(kChunk);
    const int64_t count = target.count();
    for (int64_t begin = 0; begin < count; begin += kChunk) {
      const auto chunk = static_cast<size_t>(std::min(kChunk, count - begin));
      convert_to_f32(dtype, data + begin * static_cast<int64_t>(size_of(dtype)), staging_.data(), chunk);
      copy(target.f32() + begin, chunk);
    }
  }

  // (O, I, kh, kw) in the file to (O, kh, kw, I).
  void fill_channels_last(const TensorInfo& info, const std::byte* data, const Tensor& target) {
    const int64_t in = info.shape[1], taps = info.shape[2] * info.shape[3];
    const auto count = static_cast<size_t>(in * taps);
    std::vector<float> stored(count);
    staging_.resize(std::max<size_t>(staging_.size(), count));
    for (int64_t o = 0; o < info.shape[0]; ++o) {
      convert_to_f32(info.dtype, data + o * in * taps * static_cast<int64_t>(size_of(info.dtype)), stored.data(), count);
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t t = 0; t < taps; ++t) staging_[t * in + i] = stored[i * taps + t];
      }
      copy(target.f32() + o * in * taps, count);
    }
  }

  void copy(float* target, size_t count) {
    store_.runtime().copy(target, staging_.data(), count * sizeof(float), CopyKind::host_to_device);
    store_.runtime().synchronize();
  }

  ParamStore& store_;
  const TensorSource& source_;
  const NameMap& names_;
  std::unordered_map<std::string, Entry> params_;
  std::vector<std::string> problems_;
  std::vector<float> staging_;
};

}  // namespace

void bind_params(ParamStore& store, const TensorSource& source, const NameMap& names, const std::string& component) {
  Binder binder(store, source, names);
  binder.run();
  if (binder.problems().empty()) return;
  std::string list;
  for (const std::string& problem : binder.problems()) list += (list.empty() ? "" : "; ") + problem;
  fail(ErrorCode::bad_file, "{}: {} does not fit its config ({} problem{}): {}", component, source.path().string(),
       binder.problems().size(), binder.problems().size() == 1 ? "" : "s", list);
}

}  // namespace fx
