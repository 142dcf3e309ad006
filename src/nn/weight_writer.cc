#include "nn/weight_writer.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/buffer.h"
#include "core/error.h"
#include "core/parallel.h"

namespace fx {
namespace {

constexpr size_t kTransfer = size_t{16} << 20;
constexpr unsigned kMostLanes = 8;  // more threads than that copy no faster than the device takes

int64_t columns_of(const Param& param) { return param.tensor.count() / std::max<int64_t>(param.tensor.size(0), 1); }

// What travels: bf16 and f32 as they are; everything else, and what is laid out anew, as f32.
bool travels_as_stored(const WeightWriter::Piece& piece) {
  const DType target = piece.param->tensor.dtype();
  return piece.param->layout == ParamLayout::as_stored && (piece.dtype == DType::f32 || (piece.dtype == DType::bf16 && target != DType::f32));
}

// (O, I, kh, kw) in the file to (O, kh, kw, I).
void channels_last(const Param& param, std::vector<float>& stored, int64_t rows, float* target) {
  const int64_t in = param.file_shape[1], taps = param.file_shape[2] * param.file_shape[3];
  for (int64_t o = 0; o < rows; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t t = 0; t < taps; ++t) target[(o * taps + t) * in + i] = stored[static_cast<size_t>((o * in + i) * taps + t)];
    }
  }
}

}  // namespace

struct WeightWriter::Lane {
  std::unique_ptr<Staging> staging;
  std::vector<float> stored;  // before it is laid out anew
};

void WeightWriter::add_chunks(const Piece& piece, int64_t first, int64_t count, int64_t target,
                              std::vector<Chunk>& chunks) const {
  const auto row_bytes = static_cast<size_t>(columns_of(*piece.param)) * sizeof(float);
  const auto rows = static_cast<int64_t>(std::max<size_t>(kTransfer / std::max<size_t>(row_bytes, 1), 1));
  for (int64_t begin = 0; begin < count; begin += rows) {
    chunks.push_back({&piece, first + begin, std::min(rows, count - begin), target + begin});
  }
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
  std::atomic<size_t> next{0};
  const auto lanes = std::clamp(std::thread::hardware_concurrency(), 1u, kMostLanes);
  parallel_for(lanes, [&](int64_t) { work(all, next, progress); });
  ops_.runtime().synchronize();
}

void WeightWriter::work(const std::vector<Chunk>& all, std::atomic<size_t>& next, const LoadProgress& progress) {
  Lane lane;
  for (size_t i = next++; i < all.size(); i = next++) {
    const Chunk& chunk = all[i];
    write(chunk, lane);
    if (chunk.first + chunk.count == chunk.piece->rows.count && !chunk.piece->exchange_halves) chunk.piece->release();
    const std::lock_guard lock(issue_);
    done_ += static_cast<size_t>(chunk.count * columns_of(*chunk.piece->param)) * size_of(chunk.piece->dtype);
    if (progress) progress(done_);
  }
  const std::lock_guard lock(issue_);
  if (lane.staging) lane.staging->wait();  // its memory goes
}

void WeightWriter::write(const Chunk& chunk, Lane& lane) {
  const Piece& piece = *chunk.piece;
  const int64_t columns = columns_of(*piece.param);
  const auto count = static_cast<size_t>(chunk.count * columns);
  const bool as_stored = travels_as_stored(piece);
  const DType dtype = as_stored ? piece.dtype : DType::f32;
  const size_t bytes = count * size_of(dtype);
  if (!lane.staging || lane.staging->bytes() < bytes) lane.staging = ops_.runtime().stage(std::max(bytes, kTransfer));
  else {
    lane.staging->wait();
  }
  const std::byte* source = piece.bytes().data() + static_cast<size_t>(chunk.first * columns) * size_of(piece.dtype);
  auto* target = reinterpret_cast<float*>(lane.staging->host());
  if (as_stored) {
    std::memcpy(target, source, bytes);
  } else if (piece.param->layout == ParamLayout::channels_last) {
    lane.stored.resize(count);
    convert_to_f32(piece.dtype, source, lane.stored.data(), count);
    channels_last(*piece.param, lane.stored, chunk.count, target);
  } else {
    convert_to_f32(piece.dtype, source, target, count);
  }
  const std::lock_guard lock(issue_);
  lane.staging->send(bytes);
  auto* arrived = const_cast<std::byte*>(lane.staging->arrive());
  place(chunk, Tensor(arrived, dtype, {chunk.count, columns}), lane);
}

void WeightWriter::place(const Chunk& chunk, const Tensor& values, Lane&) {
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
