#include "lora/file/adapter_data.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/messages.h"

namespace fx {
namespace {

constexpr size_t kPiece = size_t{1} << 20;  // of one task
constexpr size_t kFewPieces = 100;
constexpr size_t kBlock = size_t{1} << 14;  // copied, then looked at while it is in the first-level cache

// Memory for the values, in large pages where the system has them: half of the time of a read would otherwise go into
// first touches of small ones.
std::shared_ptr<std::byte[]> make_memory(size_t bytes) {
  constexpr size_t kLargePage = size_t{2} << 20;
  const size_t rounded = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  if (bytes < kLargePage) return std::make_shared_for_overwrite<std::byte[]>(bytes);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kLargePage, rounded));
  check(memory != nullptr, ErrorCode::out_of_memory, "cannot allocate {} bytes for an adapter", bytes);
  madvise(memory, rounded, MADV_HUGEPAGE);  // advice: failing costs time only
  return {memory, [](std::byte* pointer) { std::free(pointer); }};
}

// Whether an element has an exponent of ones only: infinity or NaN. Written so that compilers use vectors.
template <class Bits>
bool any_exponent_full(const std::byte* data, size_t bytes, Bits mask) {
  Bits found = 0;
  for (size_t i = 0; i < bytes / sizeof(Bits); ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * sizeof(Bits), sizeof(Bits));
    found |= static_cast<Bits>((bits & mask) == mask);
  }
  return found != 0;
}

bool all_finite_as_f32(DType dtype, const std::byte* data, size_t bytes) {
  std::vector<float> values(bytes / size_of(dtype));
  convert_to_f32(dtype, data, values.data(), values.size());
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

bool all_finite(DType dtype, const std::byte* data, size_t bytes) {
  switch (dtype) {
    case DType::f32: return !any_exponent_full<uint32_t>(data, bytes, 0x7f800000);
    case DType::bf16: return !any_exponent_full<uint16_t>(data, bytes, 0x7f80);
    case DType::f16: return !any_exponent_full<uint16_t>(data, bytes, 0x7c00);
    default: return all_finite_as_f32(dtype, data, bytes);
  }
}

[[noreturn]] void refuse_not_finite(const TensorSource& source, const TensorInfo& info, const std::string& label) {
  std::vector<float> values(static_cast<size_t>(info.shape.count()));
  convert_to_f32(info.dtype, source.bytes(info).data(), values.data(), values.size());
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  fail(ErrorCode::bad_file, "{}: {} has values that are not finite (first: {} at element {})", label,
       in_quotes(info.name), bad == values.end() ? 0.0f : *bad, bad - values.begin());
}

struct Piece {
  const TensorInfo* info;
  size_t begin, end;  // bytes of the tensor
};

std::vector<Piece> pieces_of(const std::vector<const TensorInfo*>& tensors) {
  std::vector<Piece> pieces;
  for (const TensorInfo* info : tensors) {
    const size_t bytes = info->end - info->begin;
    for (size_t begin = 0; begin < bytes; begin += kPiece) {
      pieces.push_back({info, begin, std::min(begin + kPiece, bytes)});
    }
  }
  return pieces;
}

bool copy_finite(DType dtype, const std::byte* source, std::byte* target, size_t bytes) {
  for (size_t begin = 0; begin < bytes; begin += kBlock) {
    const size_t count = std::min(kBlock, bytes - begin);
    std::memcpy(target + begin, source + begin, count);
    if (!all_finite(dtype, target + begin, count)) return false;
  }
  return true;
}

}  // namespace

Matrix AdapterData::matrix(const TensorInfo& info, int64_t rows, int64_t columns) {
  if (!memory_) {
    begin_ = source_.tensors().front().begin;
    memory_ = make_memory(source_.tensors().back().end - begin_);
  }
  wanted_.push_back(&info);
  return {rows, columns, info.dtype,
          std::shared_ptr<const std::byte[]>(memory_, memory_.get() + (info.begin - begin_))};
}

void AdapterData::load(const std::string& label) const {
  const std::vector<Piece> pieces = pieces_of(wanted_);
  std::vector<char> finite(pieces.size());
  const auto copy = [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    const Piece& piece = pieces[i];
    std::byte* target = memory_.get() + (piece.info->begin - begin_) + piece.begin;
    finite[i] = copy_finite(piece.info->dtype, source_.bytes(*piece.info).data() + piece.begin, target,
                            piece.end - piece.begin);
  };
  if (pieces.size() < kFewPieces) {  // threads would cost more than they save
    for (size_t i = 0; i < pieces.size(); ++i) copy(static_cast<int64_t>(i));
  } else {
    parallel_for(static_cast<int64_t>(pieces.size()), copy);
  }
  const auto bad = std::ranges::find(finite, 0);
  if (bad != finite.end()) refuse_not_finite(source_, *pieces[static_cast<size_t>(bad - finite.begin())].info, label);
}

std::vector<float> finite_values(const TensorSource& source, const TensorInfo& info, const std::string& label) {
  const std::span<const std::byte> bytes = source.bytes(info);
  if (!all_finite(info.dtype, bytes.data(), bytes.size())) refuse_not_finite(source, info, label);
  std::vector<float> values(static_cast<size_t>(info.shape.count()));
  convert_to_f32(info.dtype, bytes.data(), values.data(), values.size());
  return values;
}

}  // namespace fx
