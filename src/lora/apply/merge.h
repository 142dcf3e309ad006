// Parameters into which adapters are merged. Base values are kept on the host, as the model stores them, while a parameter
// differs from them; every merge starts from these, or where they are quantised from the model's file, never from merged values.
// So the result depends on the parts alone, and going back is exact, bitwise.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "lora/apply/param_upload.h"
#include "lora/apply/parts.h"
#include "ops/ops.h"

namespace fx {

// A merged parameter: of now, or as it is to be.
struct MergedParam {
  std::vector<MergePart> parts;
  std::shared_ptr<const StoredValues> base;
};

// What is merged, by index of AdapterTarget::parameters(). Copying it copies no values.
using MergedSet = std::map<size_t, MergedParam>;

// New values of parameters, by the same index.
using MergedValues = std::map<size_t, StoredValues>;

// What a parameter is to have (MergedRows), rounded as the model stores it. On all cores; may run while the engine works.
StoredValues merged_values(const MergedParam& wanted, const AdapterTarget::Parameter& parameter);

class MergedParams {
 public:
  // Both must outlive this. Parameters are written by nobody else.
  MergedParams(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {}
  ~MergedParams();  // puts all base values back
  MergedParams(const MergedParams&) = delete;
  MergedParams& operator=(const MergedParams&) = delete;

  const MergedSet& now() const { return now_; }
  // The base values: the kept ones, or those that a parameter has which is not merged.
  std::shared_ptr<const StoredValues> base(size_t parameter) const;
  // Host memory of base values.
  size_t bytes() const;
  // Host memory that base and new values of `next` take beyond that.
  size_t more_bytes(const MergedSet& next) const;
  // Throws out_of_memory where main memory has not as much: the system would promise it all the same, and kill the process
  // when it is used. What other threads are about to take is not known.
  void check_room(const MergedSet& next) const;

  // What becomes of the parameters with `next`: these values, which must stay where they are until then, and the base values
  // of all that `next` no longer has. Takes the memory that copying needs: throws out_of_memory.
  std::unique_ptr<ParamUpload> prepare(const MergedValues& values, const MergedSet& next) const;

  // Copies that and waits; `next` is what is merged from now on. Returns the bytes copied. Allocates no device memory.
  size_t publish(ParamUpload& upload, MergedSet&& next);

 private:
  Ops& ops_;
  const AdapterTarget* target_;
  MergedSet now_;
};

}  // namespace fx
