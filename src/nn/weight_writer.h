// From the bytes of files to parameters in device memory: several threads copy into pinned memory, transfers run beside
// them, and the device converts and quantises what has arrived.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nn/bind.h"

namespace fx {

class WeightWriter {
 public:
  // Values of a floating dtype, (rows, columns...), that fill some rows of a parameter.
  struct Piece {
    DType dtype;
    std::function<std::span<const std::byte>()> bytes;  // called by any thread
    std::function<void()> release;                       // they are not needed any more
    const Param* param;
    RowRange rows;
    bool exchange_halves;  // the second half of the rows comes first
  };

  explicit WeightWriter(Ops& ops) : ops_(ops) {}

  void add(Piece piece) { pieces_.push_back(std::move(piece)); }
  // Writes all of them and waits. The first error of any thread is thrown here.
  void run(const LoadProgress& progress);

 private:
  // Some rows of a piece, as many as one transfer holds.
  struct Chunk {
    const Piece* piece;
    int64_t first, count;  // rows of the piece
    int64_t target;        // first row of the parameter
  };

  std::vector<Chunk> chunks() const;
  void add_chunks(const Piece& piece, int64_t first, int64_t count, int64_t target, std::vector<Chunk>& chunks) const;
  static size_t values_of(const Chunk& chunk);  // their number
  size_t fill(const Chunk& chunk, std::byte* target) const;
  void place(const Chunk& chunk, const Tensor& values);

  Ops& ops_;
  std::vector<Piece> pieces_;
};

}  // namespace fx
