// Parameters into which adapters are merged. Base values are kept on the host while a parameter differs from them;
// every merge starts from these, never from merged values, so the result depends on the parts alone and going back is
// exact, bitwise.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "lora/apply/parts.h"
#include "ops/ops.h"

namespace fx {

using ParamValues = std::shared_ptr<const std::vector<float>>;

// A merged parameter: of now, or as it is to be.
struct MergedParam {
  std::vector<MergePart> parts;
  ParamValues base;
};

// What is merged, by index of AdapterTarget::parameters(). Copying it copies no values.
using MergedSet = std::map<size_t, MergedParam>;

// base + the parts' differences, (rows, in), added up in f32 in their order. A part that replaces its rows puts its
// values there first, wherever it stands.
std::vector<float> merged_values(const MergedParam& wanted, const Param& param);

class MergedParams {
 public:
  // Both must outlive this. Parameters are written by nobody else.
  MergedParams(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {}
  ~MergedParams();  // puts all base values back
  MergedParams(const MergedParams&) = delete;
  MergedParams& operator=(const MergedParams&) = delete;

  const MergedSet& now() const { return now_; }
  // The kept base values; read for a parameter that is not merged: from the device, or where that has quantised values
  // alone, from the model's file.
  ParamValues base(size_t parameter) const;
  // Host memory of base values.
  size_t bytes() const;
  // Host memory that base and new values of `next` take beyond that.
  size_t more_bytes(const MergedSet& next) const;
  // Throws out_of_memory where main memory has not as much: the system would promise it all the same, and kill the process
  // when it is used. What other threads are about to take is not known.
  void check_room(const MergedSet& next) const;

  // Device memory that `publish` needs to quantise what it writes; none where nothing is quantised.
  Buffer room_for(const std::map<size_t, std::vector<float>>& values, const MergedSet& next) const;

  // Copies these values to the device, and the base values of all parameters that `next` no longer has; `next` is what
  // is merged from now on. Returns the bytes copied. Allocates nothing, and waits for the copies.
  size_t publish(const std::map<size_t, std::vector<float>>& values, MergedSet&& next, const Tensor& room);

 private:
  // Calls f(parameter, values) for all that `publish` writes.
  template <class F>
  void each_write(const std::map<size_t, std::vector<float>>& values, const MergedSet& next, F f) const;

  Ops& ops_;
  const AdapterTarget* target_;
  MergedSet now_;
};

}  // namespace fx
