#include "lora/apply/slot_image.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

namespace fx {
namespace {

int64_t block_of(const SlotPart& part) { return part.rows.count * lora_pitch(part.patch->rank()); }

// An image is laid out as a slot that is just large enough, with the segments of the one it may be copied to.
SlotLayout layout_of(const SlotImage& image, const LoraSlot& layer) {
  SlotSize size{.segments = image.size.segments};
  if (image.matrices) size = need_of(image.parts, layer.out), size.segments = image.size.segments;
  else size.ranks = need_of(image.parts, layer.out).ranks;
  return SlotLayout(layer, size);
}

// Without matrices it begins with the count.
size_t first_byte(const SlotImage& image, const SlotLayout& layout) { return image.matrices ? 0 : layout.count; }

// Rows of a matrix in another type, `pitch` elements apart.
void put_rows(const Matrix& matrix, int64_t first, int64_t count, DType dtype, int64_t pitch, std::byte* target) {
  std::vector<float> row(static_cast<size_t>(matrix.columns()));
  const size_t step = static_cast<size_t>(pitch) * size_of(dtype);
  for (int64_t i = 0; i < count; ++i, target += step) {
    matrix.read_rows(first + i, 1, row.data());
    convert_from_f32(row.data(), dtype, target, row.size());
  }
}

void put_matrices(const SlotImage& image, const SlotLayout& layout, std::byte* memory) {
  const auto element = size_of(layout.matrices);
  std::byte *a = memory + layout.a, *b = memory + layout.b;
  for (const SlotPart& part : image.parts) {
    const Patch& patch = *part.patch;
    const int64_t pitch = lora_pitch(patch.rank());
    put_rows(patch.a, 0, patch.rank(), layout.matrices, layout.in, a);
    put_rows(patch.b, part.rows.begin - patch.rows.begin, part.rows.count, layout.matrices, pitch, b);
    a += static_cast<size_t>(pitch * layout.in) * element;
    b += static_cast<size_t>(block_of(part)) * element;
  }
}

// Count, segments and scales; `memory` is where the layout begins.
void put_numbers(const SlotImage& image, const SlotLayout& layout, std::byte* memory) {
  std::memset(memory + layout.count, 0, layout.end - layout.count);
  auto* scale = reinterpret_cast<float*>(memory + layout.scale);
  auto* segments = reinterpret_cast<int32_t*>(memory + layout.segments);
  int64_t ranks = 0, block = 0;
  int32_t count = 0;
  for (const SlotPart& part : image.parts) {
    const int64_t rank = part.patch->rank();
    std::fill_n(scale + ranks, rank, part.scale);
    // A part without effect is left out, so that scale 0 is no adapter at all, bitwise and in time.
    if (part.scale != 0) {
      for (const int64_t field : {ranks, rank, part.rows.begin, part.rows.count, block}) *segments++ = static_cast<int32_t>(field);
      ++count;
    }
    ranks += lora_pitch(rank);
    block += block_of(part);
  }
  std::memcpy(memory + layout.count, &count, sizeof count);
}

}  // namespace

SlotSize need_of(const SlotParts& parts, int64_t out) {
  SlotSize need{.segments = static_cast<int64_t>(parts.size())};
  int64_t elements = 0;
  for (const SlotPart& part : parts) {
    need.ranks += lora_pitch(part.patch->rank());
    elements += block_of(part);
  }
  need.columns = (elements + out - 1) / std::max<int64_t>(out, 1);
  return need;
}

bool same_matrices(const SlotParts& x, const SlotParts& y) {
  return std::ranges::equal(
      x, y, [](const SlotPart& a, const SlotPart& b) { return a.patch == b.patch && a.rows == b.rows; });
}

void lay_out(std::vector<SlotImage>& images, const AdapterTarget& target) {
  std::vector<std::pair<SlotImage*, SlotLayout>> fresh;
  size_t bytes = 0;
  for (SlotImage& image : images) {
    if (image.staging) continue;
    const SlotLayout layout = layout_of(image, *target.slots()[image.slot].slot);
    image.begin = bytes;
    image.bytes = layout.end - first_byte(image, layout);
    bytes += image.bytes;
    fresh.emplace_back(&image, layout);
  }
  if (fresh.empty()) return;
  const std::shared_ptr<Staging> staging = target.slots()[fresh.front().first->slot].runtime->stage(bytes);
  parallel_for(static_cast<int64_t>(fresh.size()), [&](int64_t i) {
    const auto& [image, layout] = fresh[static_cast<size_t>(i)];
    std::byte* memory = staging->host() + image->begin - first_byte(*image, layout);
    if (image->matrices) put_matrices(*image, layout, memory);
    put_numbers(*image, layout, memory);
  });
  staging->send(bytes);
  for (const auto& [image, layout] : fresh) image->staging = staging;
}

LoraOperand operand_of(const SlotImage& image, const AdapterTarget::Slot& slot) {
  return layout_of(image, *slot.slot).operand(const_cast<std::byte*>(image.staging->arrive()) + image.begin);
}

void write(const SlotImage& image, const AdapterTarget::Slot& slot) {
  const SlotLayout from = layout_of(image, *slot.slot);
  const LoraOperand& operand = slot.slot->operand;
  const std::byte* arrived = image.staging->arrive() + image.begin - first_byte(image, from);
  const auto copy = [&](const Tensor& to, size_t begin, size_t end) {
    slot.runtime->copy(to.raw(), arrived + begin, end - begin, CopyKind::device_to_device);
  };
  if (image.matrices) {
    const auto element = size_of(from.matrices);
    copy(operand.a, from.a, from.a + static_cast<size_t>(from.size.ranks * from.in) * element);
    copy(operand.b, from.b, from.b + static_cast<size_t>(from.size.columns * from.out) * element);
  }
  copy(operand.count, from.count, from.scale + static_cast<size_t>(from.size.ranks) * sizeof(float));
}

}  // namespace fx
