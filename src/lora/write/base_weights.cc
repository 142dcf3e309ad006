#include "lora/write/base_weights.h"

#include <algorithm>

#include "core/error.h"

namespace fx {

BaseWeights::BaseWeights(std::unique_ptr<TensorSource> source, const NameMap& names) : source_(std::move(source)) {
  for (const TensorInfo& info : source_->tensors()) {
    const auto target = names.parameter(info.name);
    if (!target || info.shape.rank() == 0 || !is_floating(info.dtype)) continue;
    const RowRange rows{target->rows.begin, info.shape[0]};
    pieces_[target->name].push_back({&info, rows, target->exchange_halves});
  }
}

std::vector<float> BaseWeights::rows(const std::string& parameter, const RowRange& rows) const {
  std::vector<float> values;
  int64_t found = 0;
  if (const auto pieces = pieces_.find(parameter); pieces != pieces_.end()) {
    for (const Piece& piece : pieces->second) found += read_piece(piece, rows, values);
  }
  check(found == rows.count, ErrorCode::bad_file, "{}: expected {} rows of {} from row {} on, found {}",
        source_->path().string(), rows.count, parameter, rows.begin, found);
  return values;
}

// Returns the number of wanted rows that the piece has.
int64_t BaseWeights::read_piece(const Piece& piece, const RowRange& wanted, std::vector<float>& values) const {
  const int64_t columns = piece.info->shape.count() / piece.rows.count, half = piece.rows.count / 2;
  const int64_t first = std::max(wanted.begin, piece.rows.begin);
  const int64_t last = std::min(wanted.begin + wanted.count, piece.rows.begin + piece.rows.count);
  if (first >= last) return 0;
  values.resize(static_cast<size_t>(wanted.count * columns));
  const std::byte* data = source_->bytes(*piece.info).data();
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(piece.info->dtype);
  for (int64_t row = first; row < last; ++row) {
    const int64_t local = row - piece.rows.begin;
    const int64_t stored = piece.exchange_halves ? (local + half) % piece.rows.count : local;
    convert_to_f32(piece.info->dtype, data + static_cast<size_t>(stored) * row_bytes,
                   values.data() + (row - wanted.begin) * columns, static_cast<size_t>(columns));
  }
  if (last == piece.rows.begin + piece.rows.count) source_->release(*piece.info);
  return last - first;
}

}  // namespace fx
