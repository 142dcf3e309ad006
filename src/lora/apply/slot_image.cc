#include "lora/apply/slot_image.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

namespace fx {
namespace {

constexpr size_t kAlignment = 256;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Where the matrices of an image lie, counted from its beginning.
struct Packing {
  size_t a = 0;
  std::vector<size_t> b;  // of each part, (rows, rank)
  size_t end = 0;

  Packing(const SlotImage& image, const SlotLayout& layout) {
    if (!image.matrices) return;
    const size_t element = size_of(layout.matrices);
    end = aligned(static_cast<size_t>(need_of(image.parts).ranks * layout.in) * element);
    for (const SlotPart& part : image.parts) {
      b.push_back(end);
      end += aligned(static_cast<size_t>(part.rows.count * part.patch->rank()) * element);
    }
  }
};

// Rows of a matrix in another type, one after the other.
void put_rows(const Matrix& matrix, int64_t first, int64_t count, DType dtype, std::byte* target) {
  std::vector<float> row(static_cast<size_t>(matrix.columns()));
  for (int64_t i = 0; i < count; ++i) {
    matrix.read_rows(first + i, 1, row.data());
    convert_from_f32(row.data(), dtype, target + static_cast<size_t>(i * matrix.columns()) * size_of(dtype), row.size());
  }
}

void put_matrices(const SlotImage& image, const SlotLayout& layout, std::byte* memory) {
  const Packing packing(image, layout);
  const size_t a_row = static_cast<size_t>(layout.in) * size_of(layout.matrices);
  int64_t ranks = 0;
  for (size_t i = 0; i < image.parts.size(); ++i) {
    const SlotPart& part = image.parts[i];
    const Patch& patch = *part.patch;
    put_rows(patch.a, 0, patch.rank(), layout.matrices, memory + packing.a + static_cast<size_t>(ranks) * a_row);
    put_rows(patch.b, part.rows.begin - patch.rows.begin, part.rows.count, layout.matrices, memory + packing.b[i]);
    ranks += patch.rank();
  }
}

// Scales, segments and count to `memory`, which is as long as those of the layout.
void put_tail(const SlotImage& image, const SlotLayout& layout, std::byte* memory) {
  std::memset(memory, 0, layout.end - layout.scale);
  auto* scale = reinterpret_cast<float*>(memory);
  auto* segments = reinterpret_cast<int32_t*>(memory + layout.segments - layout.scale);
  int64_t ranks = 0;
  int32_t count = 0;
  for (const SlotPart& part : image.parts) {
    const int64_t rank = part.patch->rank();
    std::fill_n(scale + ranks, rank, part.scale);
    // A part without effect is left out, so that scale 0 is no adapter at all, bitwise and in time.
    if (part.scale != 0) {
      for (const int64_t field : {ranks, rank, part.rows.begin, part.rows.count}) *segments++ = static_cast<int32_t>(field);
      ++count;
    }
    ranks += rank;
  }
  std::memcpy(memory + layout.count - layout.scale, &count, sizeof count);
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

void lay_out(std::vector<SlotImage>& images, const AdapterTarget& target) {
  std::vector<std::pair<SlotImage*, SlotLayout>> fresh;
  size_t bytes = 0;
  for (SlotImage& image : images) {
    if (image.staging) continue;
    const SlotLayout layout(*target.slots()[image.slot].slot, image.size);
    image.begin = bytes;
    image.tail = Packing(image, layout).end;
    image.bytes = image.tail + layout.end - layout.scale;
    bytes += image.bytes;
    fresh.emplace_back(&image, layout);
  }
  if (fresh.empty()) return;
  const std::shared_ptr<Staging> staging = target.slots()[fresh.front().first->slot].runtime->stage(bytes);
  parallel_for(static_cast<int64_t>(fresh.size()), [&](int64_t i) {
    const auto& [image, layout] = fresh[static_cast<size_t>(i)];
    std::byte* memory = staging->host() + image->begin;
    if (image->matrices) put_matrices(*image, layout, memory);
    put_tail(*image, layout, memory + image->tail);
  });
  staging->send(bytes);
  for (const auto& [image, layout] : fresh) image->staging = staging;
}

size_t write(Ops& ops, const SlotImage& image, const AdapterTarget::Slot& slot) {
  const SlotLayout layout(*slot.slot, image.size);
  const LoraOperand& operand = slot.slot->operand;
  auto* arrived = const_cast<std::byte*>(image.staging->arrive()) + image.begin;
  if (image.matrices) {
    const Packing packing(image, layout);
    int64_t ranks = 0;
    for (size_t i = 0; i < image.parts.size(); ++i) {
      const auto& [rows, rank] = std::pair(image.parts[i].rows, image.parts[i].patch->rank());
      ops.copy({.x = Tensor(arrived + packing.b[i], layout.matrices, {rows.count, rank}),
                .y = operand.b.slice(0, rows.begin, rows.begin + rows.count).slice(1, ranks, ranks + rank)});
      ranks += rank;
    }
    ops.copy({.x = Tensor(arrived + packing.a, layout.matrices, {ranks, layout.in}), .y = operand.a.slice(0, 0, ranks)});
  }
  slot.runtime->copy(operand.scale.raw(), arrived + image.tail, image.bytes - image.tail, CopyKind::device_to_device);
  return image.bytes;
}

}  // namespace fx
