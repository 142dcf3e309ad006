// Values on their way to parameters of the device.
#pragma once

#include <vector>

#include "core/upload.h"
#include "lora/apply/stored_values.h"
#include "ops/ops.h"

namespace fx {

class ParamUpload {
 public:
  struct Write {
    const Param* param;
    const StoredValues* values;  // all of it; to stay where they are
  };
  // Takes all memory that it needs. Throws out_of_memory.
  ParamUpload(Ops& ops, const std::vector<Write>& writes);

  // Writes them and waits; of a parameter with a master, that: the weight follows with MergedWeights. Returns the bytes copied.
  size_t run();

 private:
  // Some rows of a parameter, as many as one transfer holds.
  struct Transfer {
    Write write;
    int64_t begin, count;
    size_t bytes() const { return scales_at() + write.values->scales(begin, count).size_bytes(); }
    size_t scales_at() const;  // behind the rows
  };
  static std::vector<Transfer> divided(const std::vector<Write>& writes);
  static size_t sum(const std::vector<Transfer>& transfers);
  static size_t largest(const std::vector<Transfer>& transfers);
  void place(const Transfer& transfer, std::byte* arrived);

  Ops& ops_;
  std::vector<Transfer> transfers_;
  UploadLanes lanes_;
};

}  // namespace fx
