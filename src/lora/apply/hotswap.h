// Changing adapters while a model runs, in two phases: stage (check everything, lay out host images, merge ahead; no effect
// on the engine) and publish (between two steps). A swap that fails has changed nothing, bitwise.
//
// Low-rank parts of a set are carried by the layer's weight, where the model keeps unquantised masters (merged_weights.h), or
// by the front of its weight (folded_fronts.h); else, and for a set with an adapter that acts at some steps only or is asked
// to stay beside the weights, they lie in slots and the layers add them as they run. What is not low-rank is merged into
// parameters, and so is what is asked to be, unless the model keeps masters.
// Which of these follows from the adapters and their settings only, and so do the bytes of the result. Only what
// changes is written: a layer that two successive sets treat alike is left alone, one in whose slot the scales alone differ
// gets new scales, one that loses its adapters gets a zero count; a parameter that loses them gets its base values.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "lora/apply/folded_fronts.h"
#include "lora/apply/merge.h"
#include "lora/apply/merged_weights.h"
#include "lora/apply/parts.h"
#include "lora/apply/slot_image.h"
#include "lora/apply/slots.h"

namespace fx {

// What one swap did.
struct SwapReport {
  size_t slots_written = 0;   // layers with new matrices
  size_t slots_rescaled = 0;  // with new scales only
  size_t slots_cleared = 0;   // without adapters now
  size_t params_merged = 0;    // parameters with new values
  size_t params_restored = 0;  // parameters that have their base values again
  size_t bytes = 0;            // copied to the device
  bool transformer = false;    // something of it has changed: modulation is to be computed again
  bool text_encoders = false;  // something of them has changed: prompts are to be encoded again
  size_t weights_merged = 0;   // on the device, from masters
  size_t merged_ahead = 0;     // of these, while the last picture may have run
  bool grew = false;           // slots have moved
  double seconds = 0;          // of publish
};

// What adapters hold now, besides the adapters themselves.
struct AdapterMemory {
  size_t slot_bytes = 0;  // device
  size_t base_bytes = 0;  // host: base values of merged parameters
};

using PartsBySlot = std::vector<SlotParts>;

// What a set changes, ready to be published. Made by HotSwap::stage.
class StagedAdapters {
 public:
  const AdapterSet& adapters() const { return adapters_; }

 private:
  friend class HotSwap;
  const SlotImage& image(size_t slot) const;

  AdapterSet adapters_;
  Acting acting_;
  bool carried_ = false;                         // by the layers that can
  PartsBySlot parts_;                            // of all slots
  std::vector<SlotImage> images_;                // in the order of slots: of those that are to be written
  std::set<size_t> rewritten_;                   // slots whose layer gets a new master, or new scales beside a front
  MergedSet merged_;                             // all of the set
  MergedValues values_;                          // of those parameters that change
  uint64_t version_ = 0;                         // of the state against which it was staged
  size_t merged_ahead_ = 0;
  std::shared_ptr<const void> claim_;  // on the next set of weights, which is this one's
};

class HotSwap {
 public:
  // Both must outlive it. One for the life of a model, whose weights are as they were loaded.
  HotSwap(Ops& ops, AdapterSlots& slots);

  // Checks the set against the model and lays out what has to be written: for the first of `steps`, or where no number
  // is given, for all adapters whose range is not empty. Where the model has two sets of weights and no other staged set waits
  // for its turn, merges into the one that is not in use. Throws invalid_argument as parts_of, out_of_memory where main memory
  // cannot hold what is to be merged, and unsupported where that has no file to start from. May run on any thread, while the
  // engine works.
  StagedAdapters stage(const AdapterSet& adapters, std::optional<int> steps = std::nullopt);

  // Makes a staged set the active one. On the engine's thread, between two steps. Throws out_of_memory when slots would have
  // to grow and cannot, or nothing is left to copy through; then the last set stays active. What another publish has overtaken is staged again first.
  SwapReport publish(StagedAdapters&& staged);

  // stage and publish.
  SwapReport apply(const AdapterSet& adapters) { return publish(stage(adapters)); }

  // New scales for the active adapters, in their order, for all components. Of what lies in slots, no matrix is touched.
  // Throws invalid_argument for another number of scales.
  SwapReport set_scales(const std::vector<float>& scales);

  // The steps of `steps`, after the first, at which adapters of the active set begin or cease to act.
  std::vector<int> phases(int steps) const;

  // Makes those adapters of the active set act that have this step of `steps` in their range. New scales at the same
  // addresses: a recorded step stays valid, but modulation has to be computed again if the report says that the transformer
  // has changed. On the engine's thread, between two steps.
  SwapReport enter_step(int step, int steps);

  // Runs `work` in each other arrangement that a swap of adapters which layers carry may bring, whatever lies there now: while
  // layers read the other set of weights, or take other columns of their fronts. To record a step with it. On the engine's
  // thread; other threads' merging waits.
  void with_other_arrangements(const std::function<void()>& work);

  // Makes room for the largest of these sets in every slot at once, so that no later publish of any of them changes
  // addresses. The active set stays as it is. On the engine's thread.
  void reserve(const std::vector<AdapterSet>& sets);

  // The same for any one adapter of at most this rank, on the layers of a component: a fused layer has room for one on each
  // of its parts. Layers that carry their adapters get it when they first need it, all of it.
  void reserve_rank(Component component, int64_t rank);

  // For the engine's thread.
  const AdapterSet& active() const { return active_; }
  uint64_t generation() const { return slots_->generation(); }
  const AdapterSlots& slots() const { return *slots_; }
  AdapterMemory memory() const { return {slots_->bytes(), merged_.bytes()}; }

 private:
  // The state against which a set is staged.
  struct Snapshot {
    uint64_t version = 0;
    PartsBySlot in_slots;
    std::vector<SlotSize> sizes;
    SlotContents weights, next_weights, fronts;
    MergedSet merged;
  };
  Snapshot snapshot() const;
  const AdapterTarget& target() const { return slots_->target(); }

  // hotswap_stage.cc
  bool carried(const AdapterSet& adapters, const PartsBySlot& parts) const;
  bool carries(size_t slot) const { return weights_.has(slot) || fronts_.has(slot); }
  StagedAdapters stage_against(const Snapshot& now, StagedAdapters&& wanted, StagedAdapters&& earlier) const;
  StagedAdapters wanted_of(const AdapterSet& adapters, Acting acting, bool may_carry) const;
  StagedAdapters stage_locked(const AdapterSet& adapters, Acting acting, bool may_carry = true,
                              StagedAdapters&& earlier = {}) const;
  void check_room(const StagedAdapters& wanted) const;
  void complete(StagedAdapters& wanted, const StagedAdapters& earlier) const;
  void stage_values(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const;
  void stage_images(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const;
  std::optional<bool> image_with_matrices(const Snapshot& now, const StagedAdapters& staged, size_t slot,
                                          bool weights_change) const;
  bool weights_change(const SlotContents& now, const StagedAdapters& staged) const;
  void merge_ahead(StagedAdapters& staged);

  // Where a set wants its parts of a slot to be.
  const SlotParts& in_slot(const StagedAdapters& staged, size_t slot) const;
  const SlotParts& in_weight(const StagedAdapters& staged, size_t slot) const;

  // hotswap.cc, with both locks
  SwapReport publish_locked(StagedAdapters&& staged, SwapReport report = {});
  SwapReport publish_beside(StagedAdapters&& refused, SwapReport report);
  bool grow_for(const StagedAdapters& staged);
  void write_slots(const StagedAdapters& staged);
  size_t write_weights(const StagedAdapters& staged, bool ahead);
  bool write_fronts(const StagedAdapters& staged);
  void write_parameters(StagedAdapters& staged, ParamUpload& upload, SwapReport& report);
  void count_changes(const StagedAdapters& staged, SwapReport& report) const;
  void synchronize();

  // hotswap_reserve.cc
  void reserve_locked(const std::vector<SlotSize>& sizes, bool beside);

  Ops& ops_;
  AdapterSlots* slots_;
  mutable std::mutex mutex_;       // guards all below, the slots, and writing to parameters
  mutable std::mutex next_mutex_;  // the next set of weights, and the version: after the other where both are held
  AdapterSet active_;              // keeps the patches alive to which parts below point
  Acting acting_;
  bool active_carried_ = true;
  PartsBySlot active_parts_;
  PartsBySlot in_slots_;  // what slots have: of layers that carry nothing
  std::vector<SlotSize> reserved_;
  MergedParams merged_;
  MergedWeights weights_;
  FoldedFronts fronts_;
  std::weak_ptr<const void> claim_;
  uint64_t version_ = 0;  // rises with every change of the state
};

}  // namespace fx
