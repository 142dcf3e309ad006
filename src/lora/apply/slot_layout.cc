#include "lora/apply/slot_layout.h"

#include <algorithm>
#include <bit>

namespace fx {
namespace {

constexpr int64_t kLeastRanks = 16, kLeastSegments = 4;  // what matrix units take at a time; q, k, v and an MLP
constexpr size_t kAlignment = 256;
constexpr int64_t kSegmentFields = 5;

int64_t room_for(int64_t now, int64_t need, int64_t least) {
  if (need <= now) return std::max(now, least);
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(need, least))));
}

}  // namespace

SlotSize larger(const SlotSize& x, const SlotSize& y) {
  return {std::max(x.ranks, y.ranks), std::max(x.columns, y.columns), std::max(x.segments, y.segments)};
}

SlotSize grown(const SlotSize& now, const SlotSize& need) {
  return {room_for(now.ranks, need.ranks, kLeastRanks), room_for(now.columns, need.columns, kLeastRanks),
          room_for(now.segments, need.segments, kLeastSegments)};
}

SlotLayout::SlotLayout(const LoraSlot& layer, const SlotSize& room)
    : size(room),
      in(layer.in),
      out(layer.out),
      matrices(layer.weight->base().dtype() == DType::f32 ? DType::f32 : DType::bf16),
      end(0) {
  const auto place = [&](int64_t elements, size_t element) {
    const size_t begin = end;
    end += (static_cast<size_t>(elements) * element + kAlignment - 1) / kAlignment * kAlignment;
    return begin;
  };
  a = place(size.ranks * in, size_of(matrices));
  b = place(size.columns * out, size_of(matrices));
  count = place(1, sizeof(int32_t));
  segments = place(size.segments * kSegmentFields, sizeof(int32_t));
  scale = place(size.ranks, sizeof(float));
}

LoraOperand SlotLayout::operand(std::byte* block) const {
  return {.a = Tensor(block + a, matrices, {size.ranks, in}),
          .b = Tensor(block + b, matrices, {size.columns * out}),
          .scale = Tensor(block + scale, DType::f32, {size.ranks}),
          .segments = Tensor(block + segments, DType::i32, {size.segments, kSegmentFields}),
          .count = Tensor(block + count, DType::i32, {1}),
          .out = out};
}

}  // namespace fx
