#include "lora/apply/param_upload.h"

#include <algorithm>

namespace fx {

size_t ParamUpload::Transfer::scales_at() const {
  constexpr size_t kAligned = sizeof(float);
  return (write.values->rows(begin, count).size() + kAligned - 1) / kAligned * kAligned;
}

std::vector<ParamUpload::Transfer> ParamUpload::divided(const std::vector<Write>& writes) {
  std::vector<Transfer> all;
  for (const Write& write : writes) {
    const size_t with_scale = write.values->row_bytes() + 2 * sizeof(float);  // and what aligns it
    const int64_t rows = write.param->file_shape[0], most = UploadLanes::rows_for(with_scale);
    for (int64_t begin = 0; begin < rows; begin += most) all.push_back({write, begin, std::min(most, rows - begin)});
  }
  return all;
}

size_t ParamUpload::sum(const std::vector<Transfer>& transfers) {
  size_t bytes = 0;
  for (const Transfer& transfer : transfers) bytes += transfer.bytes();
  return bytes;
}

size_t ParamUpload::largest(const std::vector<Transfer>& transfers) {
  size_t bytes = 0;
  for (const Transfer& transfer : transfers) bytes = std::max(bytes, transfer.bytes());
  return bytes;
}

ParamUpload::ParamUpload(Ops& ops, const std::vector<Write>& writes)
    : ops_(ops), transfers_(divided(writes)), lanes_(ops.runtime(), largest(transfers_), sum(transfers_)) {}

size_t ParamUpload::run() {
  const auto fill = [&](size_t i, std::byte* target) {
    const Transfer& transfer = transfers_[i];
    std::ranges::copy(transfer.write.values->rows(transfer.begin, transfer.count), target);
    const auto scales = std::as_bytes(transfer.write.values->scales(transfer.begin, transfer.count));
    std::ranges::copy(scales, target + transfer.scales_at());
    return transfer.bytes();
  };
  lanes_.run(transfers_.size(), fill, [&](size_t i, std::byte* arrived) { place(transfers_[i], arrived); });
  return sum(transfers_);
}

void ParamUpload::place(const Transfer& transfer, std::byte* arrived) {
  const auto copy = [&](const Tensor& whole, std::byte* from) {
    const Tensor rows = whole.slice(0, transfer.begin, transfer.begin + transfer.count);
    ops_.copy({.x = Tensor(from, rows.dtype(), rows.shape()), .y = rows});
  };
  copy(transfer.write.param->base(), arrived);
  if (transfer.write.values->quantised()) copy(transfer.write.param->scale, arrived + transfer.scales_at());
}

}  // namespace fx
