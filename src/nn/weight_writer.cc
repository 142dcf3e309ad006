#include "nn/weight_writer.h"

#include <algorithm>
#include <cstring>

#include "core/upload.h"

namespace fx {
namespace {

// bf16 travels as it is; what the device keeps in f32, everything else, and what is laid out anew, as f32.
DType travels_as(const WeightWriter::Piece& piece) {
  const bool anew = piece.param->layout != ParamLayout::as_stored;
  return piece.dtype == DType::bf16 && piece.param->tensor.dtype() != DType::f32 && !anew ? DType::bf16 : DType::f32;
}

// (O, I, kh, kw) in the file to (O, kh, kw, I).
void channels_last(const Param& param, const std::vector<float>& stored, int64_t rows, float* target) {
  const int64_t in = param.file_shape[1], taps = param.file_shape[2] * param.file_shape[3];
  for (int64_t o = 0; o < rows; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t t = 0; t < taps; ++t) target[(o * taps + t) * in + i] = stored[static_cast<size_t>((o * in + i) * taps + t)];
    }
  }
}

}  // namespace

void WeightWriter::add_chunks(const Piece& piece, int64_t first, int64_t count, int64_t target,
                              std::vector<Chunk>& chunks) const {
  const int64_t rows = UploadLanes::rows_for(static_cast<size_t>(piece.param->columns()) * sizeof(float));
  for (int64_t begin = 0; begin < count; begin += rows) {
    chunks.push_back({&piece, first + begin, std::min(rows, count - begin), target + begin});
  }
}

size_t WeightWriter::values_of(const Chunk& chunk) {
  return static_cast<size_t>(chunk.count * chunk.piece->param->columns());
}

std::vector<WeightWriter::Chunk> WeightWriter::chunks() const {
  std::vector<Chunk> all;
  for (const Piece& piece : pieces_) {
    const int64_t count = piece.rows.count, half = count / 2, begin = piece.rows.begin;
    if (piece.exchange_halves) {
      add_chunks(piece, 0, half, begin + half, all);
      add_chunks(piece, half, count - half, begin, all);
    } else {
      add_chunks(piece, 0, count, begin, all);
    }
  }
  return all;
}

void WeightWriter::run(const LoadProgress& progress) {
  const std::vector<Chunk> all = chunks();
  size_t most = 0, total = 0, done = 0;  // done: bytes of files
  for (const Chunk& chunk : all) {
    most = std::max(most, values_of(chunk) * sizeof(float));
    total += values_of(chunk) * sizeof(float);
  }
  const auto place_and_tell = [&](size_t i, std::byte* arrived) {
    const Chunk& chunk = all[i];
    place(chunk, Tensor(arrived, travels_as(*chunk.piece), {chunk.count, chunk.piece->param->columns()}));
    done += values_of(chunk) * size_of(chunk.piece->dtype);
    if (progress) progress(done);
  };
  UploadLanes lanes(ops_.runtime(), most, total);
  lanes.run(all.size(), [&](size_t i, std::byte* target) { return fill(all[i], target); }, place_and_tell);
  ops_.runtime().synchronize();
}

size_t WeightWriter::fill(const Chunk& chunk, std::byte* target) const {
  const Piece& piece = *chunk.piece;
  const size_t count = values_of(chunk);
  const DType dtype = travels_as(piece);
  const auto begin = static_cast<size_t>(chunk.first * piece.param->columns()) * size_of(piece.dtype);
  const std::byte* source = piece.bytes().data() + begin;
  if (dtype == piece.dtype && piece.param->layout == ParamLayout::as_stored) {
    std::memcpy(target, source, count * size_of(dtype));
  } else if (piece.param->layout == ParamLayout::channels_last) {
    std::vector<float> stored(count);
    convert_to_f32(piece.dtype, source, stored.data(), count);
    channels_last(*piece.param, stored, chunk.count, reinterpret_cast<float*>(target));
  } else {
    convert_to_f32(piece.dtype, source, reinterpret_cast<float*>(target), count);
  }
  if (chunk.first + chunk.count == piece.rows.count && !piece.exchange_halves) piece.release();
  return count * size_of(dtype);
}

void WeightWriter::place(const Chunk& chunk, const Tensor& values) {
  const Param& param = *chunk.piece->param;
  const auto rows = [&](const Tensor& t) {
    return t.slice(0, chunk.target, chunk.target + chunk.count).reshape(values.shape());
  };
  if (param.master.defined()) ops_.copy({.x = values, .y = rows(param.master)});
  if (param.scale.defined()) {
    // Of the master, where there is one: the bits that taking an adapter out again gives.
    ops_.quantize_rows({.x = param.master.defined() ? rows(param.master) : values,
                        .y = rows(param.tensor),
                        .scale = param.scale.slice(0, chunk.target, chunk.target + chunk.count),
                        .largest = param.largest()});
  } else {
    ops_.copy({.x = values, .y = rows(param.tensor)});
  }
}

}  // namespace fx
