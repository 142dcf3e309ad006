// Changing adapters while a model runs, in two phases: stage (check everything, lay out host images; no effect on the
// engine) and publish (copy to fixed addresses, at an image boundary). A swap that fails has changed nothing, bitwise.
//
// Only slots that change are written: a layer that two successive sets treat alike is left alone, one whose scales
// alone differ gets new scales, one that loses its adapters gets a zero count.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "lora/adapter.h"
#include "lora/settings.h"
#include "lora/slots.h"

namespace fx {

// An adapter and how it acts: W += scale * (alpha / rank) * B A.
struct AppliedAdapter {
  std::shared_ptr<const Adapter> adapter;
  AdapterSettings settings;
  bool operator==(const AppliedAdapter&) const = default;
};

// Adapters that act together; their differences add up.
using AdapterSet = std::vector<AppliedAdapter>;

// What one swap did.
struct SwapReport {
  size_t slots_written = 0;   // with new matrices
  size_t slots_rescaled = 0;  // with new scales only
  size_t slots_cleared = 0;
  size_t bytes = 0;            // copied to the device
  bool transformer = false;    // something of it has changed: modulation is to be computed again
  bool text_encoders = false;  // something of them has changed: prompts are to be encoded again
  bool grew = false;           // addresses have changed: recorded operations are void
  double seconds = 0;          // of publish
};

// The part of one layer that comes from one patch.
struct SlotPart {
  const Patch* patch;
  float scale;  // patch scale times the user's
  bool operator==(const SlotPart&) const = default;
};

// Host images of the slots that a set changes. Made by HotSwap::stage.
class StagedAdapters {
 public:
  const AdapterSet& adapters() const { return adapters_; }

 private:
  friend class HotSwap;
  struct Image {
    size_t slot;
    std::vector<SlotPart> parts;
    SlotSize size;                  // for which the image is laid out
    bool matrices = false;          // a and b are to be written; otherwise scales only
    int64_t ranks = 0;              // used rows of a
    std::vector<float> a;           // (ranks, in)
    std::vector<float> b;           // (out, size.ranks)
    std::vector<float> scale;       // (size.ranks)
    std::vector<int32_t> segments;  // (count, 4)
    int32_t count = 0;
  };
  AdapterSet adapters_;
  std::vector<bool> acting_;
  std::vector<Image> images_;
  std::vector<size_t> cleared_;
  uint64_t version_ = 0;  // of the state against which it was staged
};

class HotSwap {
 public:
  // `slots` must outlive it.
  explicit HotSwap(AdapterSlots& slots);

  // Checks the set against the slots and lays out what has to be written. Throws invalid_argument for a scale that is
  // not finite, or an adapter that was read for another model. May run on any thread, while the engine works.
  StagedAdapters stage(const AdapterSet& adapters) const;

  // Makes a staged set the active one. On the engine's thread, between two steps. Throws out_of_memory with nothing
  // changed when slots would have to grow and cannot. A set that was staged before another publish is staged again
  // first.
  SwapReport publish(StagedAdapters&& staged);

  // stage and publish.
  SwapReport apply(const AdapterSet& adapters) { return publish(stage(adapters)); }

  // New scales for the active adapters, in their order, for all components; no matrix is touched. Throws
  // invalid_argument for another number of scales.
  SwapReport set_scales(const std::vector<float>& scales);

  // The steps of `steps`, after the first, at which adapters of the active set begin or cease to act.
  std::vector<int> phases(int steps) const;

  // Makes those adapters of the active set act that have this step of `steps` in their range. Until it is called, all do
  // whose range is not empty. New scales at the same addresses: a recorded step stays valid, but modulation has to be
  // computed again if the report says that the transformer has changed. On the engine's thread, between two steps.
  SwapReport enter_step(int step, int steps);

  // Makes room for the largest of these sets in every slot at once, so that no later publish of any of them changes
  // addresses. The active set stays as it is. On the engine's thread.
  void reserve(const std::vector<AdapterSet>& sets);

  // For the engine's thread.
  const AdapterSet& active() const { return active_; }
  uint64_t generation() const { return slots_->generation(); }
  const AdapterSlots& slots() const { return *slots_; }

 private:
  using PartsBySlot = std::vector<std::vector<SlotPart>>;
  using Acting = std::vector<bool>;  // for each adapter of a set: whether its transformer part acts
  static Acting acting_at(const AdapterSet& adapters, int step, int steps);
  static Acting acting_ever(const AdapterSet& adapters);
  SwapReport publish_locked(StagedAdapters&& staged);
  // The state against which a set is staged.
  struct Snapshot {
    uint64_t version = 0;
    PartsBySlot parts;
    std::vector<SlotSize> sizes;
  };
  Snapshot snapshot() const;
  PartsBySlot parts_of(const AdapterSet& adapters, const Acting& acting) const;
  StagedAdapters stage_against(const Snapshot& now, const AdapterSet& adapters, const Acting& acting) const;
  StagedAdapters::Image image_of(size_t slot, std::vector<SlotPart> parts, const SlotSize& size, bool matrices) const;
  bool grow_for(const std::vector<StagedAdapters::Image>& images);
  void write(const StagedAdapters::Image& image, SwapReport& report);
  void clear(size_t slot, SwapReport& report);
  static void note_change(Component component, SwapReport& report);
  void synchronize();

  AdapterSlots* slots_;
  mutable std::mutex mutex_;  // guards all below, and the slots
  AdapterSet active_;         // keeps the patches alive to which active_parts_ points
  PartsBySlot active_parts_;
  uint64_t version_ = 0;  // rises with every change of the state
};

}  // namespace fx
