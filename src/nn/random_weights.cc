#include <algorithm>
#include <cmath>
#include <random>

#include "core/buffer.h"
#include "nn/bind.h"
#include "nn/taps.h"

namespace fx {
namespace {

constexpr int64_t kMostDrawn = int64_t{1} << 22;

// Fills `target` with the drawn values, again and again; the start differs from one parameter to the next.
void repeat(Ops& ops, const Tensor& drawn, int64_t start, const Tensor& target) {
  const Tensor flat(target.raw(), target.dtype(), {target.count()});
  for (int64_t done = 0; done < flat.size(0);) {
    const int64_t count = std::min(flat.size(0) - done, drawn.size(0) - start);
    ops.copy({.x = drawn.slice(0, start, start + count), .y = flat.slice(0, done, done + count)});
    done += count;
    start = 0;
  }
}

}  // namespace

void fill_random(Ops& ops, ParamStore& store, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  int64_t largest = 1;
  for (const Param& param : store.params()) largest = std::max(largest, param.tensor.count());
  const int64_t drawn_values = std::min(largest, kMostDrawn);
  std::vector<float> values(static_cast<size_t>(drawn_values));
  Runtime& runtime = ops.runtime();
  const DType dtype = store.activations();
  // Near 1 for norms, small for biases, and for each width that weights have, 1 / sqrt(width).
  const auto draw = [&](float mean, float deviation) {
    for (float& value : values) value = mean + deviation * normal(engine);
    Buffer drawn(runtime, dtype, {drawn_values});
    upload(ops, values, drawn.tensor());
    return drawn;
  };
  const Buffer norms = draw(1.0f, 0.1f), biases = draw(0.0f, 0.02f);
  std::map<int64_t, Buffer> weights;
  int64_t start = 0;
  for (const Param& param : store.params()) {
    start = (start + 977) % drawn_values;
    const int64_t width = param.tensor.rank() > 1 ? param.tensor.count() / param.tensor.size(0) : 0;
    const bool bias = param.name.ends_with("bias");
    if (width > 0 && !weights.contains(width)) {
      weights.emplace(width, draw(0.0f, 1.0f / std::sqrt(static_cast<float>(width))));
    }
    const Tensor& drawn = (width > 0 ? weights.at(width) : bias ? biases : norms).tensor();
    const Buffer widened = param.scale.defined() && !param.master.defined() ? Buffer(runtime, dtype, param.tensor.shape()) : Buffer();
    const Tensor& plain = param.master.defined() ? param.master : widened.tensor().defined() ? widened.tensor() : param.tensor;
    repeat(ops, drawn, start, plain);
    if (param.scale.defined())
      ops.quantize_rows({.x = plain, .y = param.tensor, .scale = param.scale, .largest = param.largest()});
    else if (param.master.defined()) ops.copy({.x = plain, .y = param.tensor});
  }
  clear_fronts(ops, store);
  runtime.synchronize();  // the drawn values go away
}

}  // namespace fx
