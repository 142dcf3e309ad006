// Changing adapters while a model runs, in two phases: stage (check everything, lay out host images; no effect on the
// engine) and publish (copy to fixed addresses, between two steps). A swap that fails has changed nothing, bitwise.
//
// Low-rank parts lie in slots; layers add them as they run, from there or from the front of their weight (folded_slots.h),
// or, where the model keeps unquantised masters and no adapter of the set has a range of steps, weights are made on the
// device that carry them (merged_slots.h). What is not low-rank, or is asked to be, is merged into parameters.
// Which of these follows from the adapters and their settings only, and so do the bytes of the result. Only what
// changes is written: a layer that two successive sets treat alike is left alone, one whose scales alone differ gets
// new scales, one that loses its adapters gets a zero count; a parameter that loses them gets its base values.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "lora/apply/folded_slots.h"
#include "lora/apply/merge.h"
#include "lora/apply/merged_slots.h"
#include "lora/apply/parts.h"
#include "lora/apply/slot_image.h"
#include "lora/apply/slots.h"

namespace fx {

// What one swap did.
struct SwapReport {
  size_t slots_written = 0;   // with new matrices
  size_t slots_rescaled = 0;  // with new scales only
  size_t slots_cleared = 0;
  size_t params_merged = 0;    // parameters with new values
  size_t params_restored = 0;  // parameters that have their base values again
  size_t bytes = 0;            // copied to the device
  bool transformer = false;    // something of it has changed: modulation is to be computed again
  bool text_encoders = false;  // something of them has changed: prompts are to be encoded again
  size_t weights_merged = 0;   // on the device, from masters and slots
  bool grew = false;           // slots have moved
  double seconds = 0;          // of publish
};

// What adapters hold now, besides the adapters themselves.
struct AdapterMemory {
  size_t slot_bytes = 0;  // device
  size_t base_bytes = 0;  // host: base values of merged parameters
};

// Host images of what a set changes. Made by HotSwap::stage.
class StagedAdapters {
 public:
  const AdapterSet& adapters() const { return adapters_; }

 private:
  friend class HotSwap;
  AdapterSet adapters_;
  Acting acting_;
  std::vector<SlotImage> images_;
  bool merge_slots_ = false;
  std::vector<size_t> cleared_;                  // slots
  MergedSet merged_;                             // all of the set
  std::map<size_t, std::vector<float>> values_;  // of those parameters that change
  uint64_t version_ = 0;                         // of the state against which it was staged
};

class HotSwap {
 public:
  // Both must outlive it.
  HotSwap(Ops& ops, AdapterSlots& slots);

  // Checks the set against the model and lays out what has to be written: for the first of `steps`, or where no number
  // is given, for all adapters whose range is not empty. Throws invalid_argument as parts_of. May run on any thread,
  // while the engine works.
  StagedAdapters stage(const AdapterSet& adapters, std::optional<int> steps = std::nullopt) const;

  // Makes a staged set the active one. On the engine's thread, between two steps. Throws out_of_memory with nothing
  // changed when slots would have to grow and cannot. What another publish has overtaken is staged again first.
  SwapReport publish(StagedAdapters&& staged);

  // stage and publish.
  SwapReport apply(const AdapterSet& adapters) { return publish(stage(adapters)); }

  // New scales for the active adapters, in their order, for all components. Of what is not merged, no matrix is
  // touched. Throws invalid_argument for another number of scales.
  SwapReport set_scales(const std::vector<float>& scales);

  // The steps of `steps`, after the first, at which adapters of the active set begin or cease to act.
  std::vector<int> phases(int steps) const;

  // Makes those adapters of the active set act that have this step of `steps` in their range. New scales at the same addresses: a recorded step stays valid, but modulation has to be
  // computed again if the report says that the transformer has changed. On the engine's thread, between two steps.
  SwapReport enter_step(int step, int steps);

  // Makes room for the largest of these sets in every slot at once, so that no later publish of any of them changes
  // addresses. The active set stays as it is. On the engine's thread.
  void reserve(const std::vector<AdapterSet>& sets);

  // The same for any one adapter of at most this rank, on the layers of a component: a fused layer has room for one on each
  // of its parts.
  void reserve_rank(Component component, int64_t rank);

  // For the engine's thread.
  const AdapterSet& active() const { return active_; }
  uint64_t generation() const { return slots_->generation(); }
  const AdapterSlots& slots() const { return *slots_; }
  AdapterMemory memory() const { return {slots_->bytes(), merged_.bytes()}; }

 private:
  using PartsBySlot = std::vector<std::vector<SlotPart>>;
  // The state against which a set is staged.
  struct Snapshot {
    uint64_t version = 0;
    PartsBySlot parts;
    std::vector<SlotSize> sizes;
    MergedSet merged;
  };
  Snapshot snapshot() const;
  const AdapterTarget& target() const { return slots_->target(); }
  StagedAdapters stage_against(const Snapshot& now, AdapterSet adapters, Acting acting, AdapterParts&& parts,
                               MergedSet&& merged, StagedAdapters&& earlier) const;
  MergedSet with_base(const AdapterParts& parts) const;
  StagedAdapters stage_locked(AdapterSet adapters, Acting acting, StagedAdapters&& earlier = {}) const;
  void stage_slots(const Snapshot& now, PartsBySlot&& parts, StagedAdapters&& earlier, StagedAdapters& staged) const;
  void stage_values(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const;

  void reserve_locked(const std::vector<SlotSize>& sizes);
  SwapReport publish_locked(StagedAdapters&& staged);
  bool grow_for(const std::vector<SlotImage>& images);
  void write_slot(const SlotImage& image, SwapReport& report);
  void clear_slot(size_t index, SwapReport& report);
  void write_slots(const StagedAdapters& staged, const std::set<size_t>& rewritten, SwapReport& report);
  std::set<size_t> write_parameters(StagedAdapters& staged, SwapReport& report);
  void synchronize();

  Ops& ops_;
  AdapterSlots* slots_;
  mutable std::mutex mutex_;  // guards all below, the slots, and writing to parameters
  AdapterSet active_;         // keeps the patches alive to which active_parts_ and merged_ point
  Acting acting_;
  PartsBySlot active_parts_;
  MergedParams merged_;
  MergedSlots merged_slots_;
  FoldedSlots folded_slots_;
  uint64_t version_ = 0;  // rises with every change of the state
};

}  // namespace fx
