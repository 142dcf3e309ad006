#include "backends/cuda/linear_run.h"

#include <algorithm>

#include "backends/cuda/convert.h"
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/linear_epilogue.h"
#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr int64_t kWidenedElements = int64_t{16} << 20;  // 32 MiB of bf16 at a time: a large second-level cache
constexpr int64_t kRowsOfTile = 128;

int64_t widened_rows(int64_t out, int64_t in) {
  const int64_t rows = kWidenedElements / std::max<int64_t>(in, 1) / kRowsOfTile * kRowsOfTile;
  return std::min(out, std::max(rows, kRowsOfTile));
}

}  // namespace

LinearRun::LinearRun(const LinearDevice& device, const LinearArgs& args)
    : device_(device),
      a_(args),
      kind_(linear_kind(args, device.matmul)),
      front_(args.front_columns),
      has_slot_(front_ == 0 && args.lora.defined() && args.lora.a.size(0) > 0),
      input_(args, kind_, parts_),
      mean_bias_(args, has_slot_, parts_) {
  const int64_t in = a_.weight.size(1), out = a_.weight.size(0), batches = a_.x.size(0);
  check(kind_ == LinearKind::outer_vector || front_ == 0, ErrorCode::unsupported,
        "[linear] an adapter in the front of a weight ({}, {}) in f8_e4m3, which this GPU does not multiply at {} rows",
        out, in, batches * a_.x.size(1));
  for (size_t i = 0; i < ways_.size(); ++i) choose_way(a_.outputs[i], ways_[i]);
  rows_at_a_time_ = kind_ == LinearKind::widened ? widened_rows(out, in) : out;
  if (kind_ == LinearKind::widened) widened_at_ = parts_.add(2 * rows_at_a_time_ * in);
  // Sized for the capacity of the slot, not for the ranks in use.
  if (has_slot_) {
    const auto size = static_cast<int64_t>(size_of(a_.lora.a.dtype()));
    inner_at_ = parts_.add(batches * a_.x.size(1) * a_.lora.a.size(0) * size);
  }
  if (a_.weight_down.defined()) wide_front_at_ = parts_.add(2 * batches * a_.x.size(1) * a_.weight_down.size(0));
  if (!folds_) return;
  fold_scale_at_ = parts_.add(4 * batches * out);
  fold_bias_at_ = parts_.add(2 * batches * out);
}

void LinearRun::choose_way(const LinearOutput& output, Way& way) {
  const Tensor& y = output.y;
  if (!y.defined()) return;
  const bool plain = output.activation == Activation::none && y.dtype() == DType::bf16;
  const bool gated = a_.gate.defined();
  if (kind_ == LinearKind::outer_vector) {
    way.onto = a_.add && plain && (!has_bias() || adds_bias(a_, output, device_.matmul));
    const bool as_it_is = !a_.x_mean.defined() && (!a_.bias.defined() || a_.bias.dtype() == DType::bf16);
    if (way.onto && (gated || !as_it_is)) folds_ = true;
  } else if (kind_ != LinearKind::f32) {
    way.onto = a_.add && plain && !gated;
  }
  const DType type = product_type(kind_, output, a_.add && !way.onto);
  way.in_scratch = (a_.add && !way.onto) || type != y.dtype();
  way.target = y;
  if (way.in_scratch) way.place = parts_.add(y.count() * static_cast<int64_t>(size_of(type)));
}

void LinearRun::run() {
  scratch_ = device_.scratch.bytes(parts_.bytes());
  prepare();
  if (has_slot_) lora_down(a_.lora, input_.lora(), scratch_ + inner_at_, device_.fault, device_.stream);

  int64_t first_row = 0;  // of the weight; the outputs take them in order
  for (size_t i = 0; i < a_.outputs.size(); ++i) {
    const LinearOutput& output = a_.outputs[i];
    if (!output.y.defined() || output.y.size(2) == 0) continue;
    Way& way = ways_[i];
    if (way.in_scratch) {
      const DType type = product_type(kind_, output, a_.add && !way.onto);
      way.target = Tensor(scratch_ + way.place, type, output.y.shape());
    }
    run_output(output, way, first_row);
    first_row += output.y.size(2);
  }
}

void LinearRun::prepare() {
  bias_ = a_.x_mean.defined() ? mean_bias_.make(scratch_, device_.fault, device_.stream) : a_.bias;
  if (folds_) {
    fold_ = {.gate = a_.gate, .weight_scale = a_.weight_scale, .bias = bias_, .batches = a_.x.size(0)};
    fold_.scale = reinterpret_cast<float*>(scratch_ + fold_scale_at_);
    if (bias_.defined()) fold_.folded_bias = scratch_ + fold_bias_at_;
  }
  input_.prepare(scratch_, fold_, device_.fault, device_.stream);
  if (front_ > 0) fill_front();
}

// The columns in use are the last ones.
void LinearRun::fill_front() {
  const int64_t all = a_.weight_front.size(1);
  const Tensor front = input_.front().slice(2, all - front_, all), down = a_.weight_down.slice(0, all - front_, all);
  const Product product = front_product(input_.x(), down, front);
  if (device_.matmul.supports(product)) return device_.matmul.run(product);
  // Few rows and a great depth: there the library writes no e4m3.
  const Tensor wide(scratch_ + wide_front_at_, DType::bf16, front.shape());
  device_.matmul.run(front_product(input_.x(), down, wide));
  narrow_rows(wide.raw(), front, device_.stream);
}

// In bf16 and e4m3 the low-rank term comes first, so that bias and activation of the product's kernel see the sum.
void LinearRun::run_output(const LinearOutput& output, const Way& way, int64_t first_row) {
  const bool lora_first = has_slot_ && kind_ != LinearKind::f32;
  if (lora_first) {
    const StepVector* gate = way.onto && a_.gate.defined() ? &a_.gate : nullptr;
    lora_up(a_.lora, scratch_ + inner_at_, first_row, way.target, way.onto ? LoraWrite::add : LoraWrite::set, gate,
            device_.fault, device_.stream);
  }
  const float beta = way.onto || lora_first ? 1.0f : 0.0f;
  const int64_t columns = output.y.size(2);
  for (int64_t begin = 0; begin < columns; begin += rows_at_a_time_) {
    run_rows(output, way, first_row, begin, std::min(columns, begin + rows_at_a_time_), beta);
  }
}

// The columns [begin, end) of an output, all of them unless the weight is widened.
void LinearRun::run_rows(const LinearOutput& output, const Way& way, int64_t first_row, int64_t begin, int64_t end,
                         float beta) {
  const Tensor &x = input_.x(), target = way.target.slice(2, begin, end);
  const int64_t in = a_.weight.size(1), first = first_row + begin;
  const bool outer = kind_ == LinearKind::outer_vector, folded = way.onto && folds_;
  const Blocks blocks(x, target, outer && (folded || !input_.scales_are_dense()));
  Product p{.m = blocks.rows,
            .n = end - begin,
            .k = in + front_,
            .x = x.data<std::byte>() - front_,
            .x_stride = blocks.x_row};
  p.w = weight_rows(first, end - begin);
  p.w_stride = kind_ == LinearKind::widened ? in : a_.weight.stride(0);
  p.y = target.raw();
  p.y_stride = blocks.y_row;
  if (!outer) p.batches = blocks.batches, p.x_batch = blocks.x_batch, p.y_batch = blocks.y_batch;
  p.beta = beta;
  p.type = x.dtype();
  p.y_type = target.dtype();
  if (outer) p.x_scale = input_.scale(0), p.w_scale = a_.weight_scale.f32() + first;
  const bool fused = fuse(p, output, folded, first);
  multiply(p, blocks, folded, first);
  if (has_slot_ && kind_ == LinearKind::f32) {
    lora_up(a_.lora, scratch_ + inner_at_, first_row, target, LoraWrite::add, nullptr, device_.fault, device_.stream);
  }

  LinearEpilogue e{.product = target, .y = output.y.slice(2, begin, end)};
  if (!fused) {
    e.activation = output.activation;
    if (bias_.defined()) {
      e.bias_type = bias_.dtype();
      e.bias = bias_.data<std::byte>() + first * static_cast<int64_t>(size_of(e.bias_type));
      e.bias_batch = bias_.rank() == 2 ? bias_.stride(0) : 0;
    }
  }
  e.add = a_.add && !way.onto;
  if (e.add) e.gate = a_.gate;
  e.first_row = first;
  if (way.in_scratch || e.bias || e.activation != Activation::none) linear_epilogue(e, device_.fault, device_.stream);
}

const void* LinearRun::weight_rows(int64_t first, int64_t count) const {
  if (kind_ != LinearKind::widened) {
    const auto size = static_cast<int64_t>(size_of(a_.weight.dtype()));
    return a_.weight.data<std::byte>() - front_ + first * a_.weight.stride(0) * size;
  }
  const Tensor rows = a_.weight.slice(0, first, first + count).reshape({1, count, a_.weight.size(1)});
  const Tensor scale = a_.weight_scale.slice(0, first, first + count).reshape({1, count});
  convert_rows(rows, scale, DType::bf16, scratch_ + widened_at_, device_.stream);
  return scratch_ + widened_at_;
}

// Gives bias and activation to the product where its kernel can do them. A folded bias has no other way.
bool LinearRun::fuse(Product& p, const LinearOutput& output, bool folded, int64_t first) const {
  if (folded) {
    if (fold_.folded_bias) p.bias = static_cast<const uint16_t*>(fold_.folded_bias) + first;
    return true;
  }
  if (p.type == DType::f32 || p.y_type != DType::bf16 || !fuses_activation(output.activation)) return false;
  Product fused = p;
  fused.gelu_tanh = output.activation == Activation::gelu_tanh;
  if (bias_.defined()) {
    if (bias_.dtype() != DType::bf16) return false;
    fused.bias = bias_.data<uint16_t>() + first;
    if (reinterpret_cast<uintptr_t>(fused.bias) % 16 != 0) return false;
  }
  if (!device_.matmul.supports(fused)) return false;
  p = fused;
  return true;
}

// Scales of rows are not strided, so that batch entries with their own take one product each.
void LinearRun::multiply(const Product& p, const Blocks& blocks, bool folded, int64_t first) const {
  if (kind_ != LinearKind::outer_vector) return device_.matmul.run(p);
  const int64_t out = a_.weight.size(0), y_size = static_cast<int64_t>(size_of(p.y_type));
  for (int64_t entry = 0; entry < blocks.batches; ++entry) {
    Product one = p;
    one.x = static_cast<const std::byte*>(p.x) + entry * blocks.x_batch;
    one.y = static_cast<std::byte*>(p.y) + entry * blocks.y_batch * y_size;
    one.x_scale = input_.scale(entry);
    if (folded) {
      one.w_scale = fold_.scale + entry * out + first;
      if (p.bias) one.bias = static_cast<const uint16_t*>(p.bias) + entry * out;
    }
    device_.matmul.run(one);
  }
}

}  // namespace fx::cuda
