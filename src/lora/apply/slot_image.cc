#include "lora/apply/slot_image.h"

#include <algorithm>

namespace fx {
namespace {

constexpr int kSegmentFields = 4;  // first rank, ranks, first row, rows

size_t copy_in(Runtime& runtime, const Tensor& target, const void* source, size_t bytes) {
  if (bytes > 0) runtime.copy(target.raw(), source, bytes, CopyKind::host_to_device);
  return bytes;
}

// B of the part's rows goes to their place in the layer, and to its own ranks.
void lay_out_matrices(SlotImage& image, const SlotPart& part, int64_t in) {
  const Patch& patch = *part.patch;
  image.a.resize((image.ranks + patch.rank()) * in);
  patch.a.read_rows(0, patch.rank(), image.a.data() + image.ranks * in);
  for (int64_t row = part.rows.begin; row < part.rows.begin + part.rows.count; ++row) {
    patch.b.read_rows(row - patch.rows.begin, 1, image.b.data() + row * image.size.ranks + image.ranks);
  }
}

}  // namespace

SlotSize need_of(const std::vector<SlotPart>& parts) {
  SlotSize need{0, static_cast<int64_t>(parts.size())};
  for (const SlotPart& part : parts) need.ranks += part.patch->rank();
  return need;
}

bool same_matrices(const std::vector<SlotPart>& x, const std::vector<SlotPart>& y) {
  return std::ranges::equal(
      x, y, [](const SlotPart& a, const SlotPart& b) { return a.patch == b.patch && a.rows == b.rows; });
}

SlotImage make_slot_image(const LoraSlot& layer, size_t slot, std::vector<SlotPart> parts, const SlotSize& size,
                          bool matrices) {
  SlotImage image{.slot = slot, .parts = std::move(parts), .size = size, .matrices = matrices};
  image.scale.resize(size.ranks, 0.0f);
  if (matrices) image.b.resize(layer.out * size.ranks, 0.0f);
  for (const SlotPart& part : image.parts) {
    const int64_t rank = part.patch->rank();
    std::fill_n(image.scale.begin() + image.ranks, rank, part.scale);
    if (matrices) lay_out_matrices(image, part, layer.in);
    // A part without effect is left out, so that scale 0 is no adapter at all, bitwise and in time.
    if (part.scale != 0) {
      for (const int64_t field : {image.ranks, rank, part.rows.begin, part.rows.count}) {
        image.segments.push_back(static_cast<int32_t>(field));
      }
    }
    image.ranks += rank;
  }
  image.count = static_cast<int32_t>(image.segments.size() / kSegmentFields);
  return image;
}

size_t write(const SlotImage& image, const AdapterTarget::Slot& slot) {
  const LoraOperand& operand = slot.slot->operand;
  Runtime& runtime = *slot.runtime;
  return copy_in(runtime, operand.a, image.a.data(), image.a.size() * sizeof(float)) +
         copy_in(runtime, operand.b, image.b.data(), image.b.size() * sizeof(float)) +
         copy_in(runtime, operand.scale, image.scale.data(), image.scale.size() * sizeof(float)) +
         copy_in(runtime, operand.segments, image.segments.data(), image.segments.size() * sizeof(int32_t)) +
         copy_in(runtime, operand.count, &image.count, sizeof(image.count));
}

}  // namespace fx
