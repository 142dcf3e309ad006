// Recordings of the same work for different arrangements of the adapters' memory, each known by one number.
#pragma once

#include <algorithm>
#include <list>
#include <memory>

#include "core/runtime.h"

namespace fx {

class Arrangements {
 public:
  // No recording: the work has run once, call by call.
  struct One {
    uint64_t signature;
    std::unique_ptr<Recording> recording;
  };

  One* find(uint64_t signature) {
    const auto found = std::ranges::find(known_, signature, &One::signature);
    if (found == known_.end()) return nullptr;
    known_.splice(known_.begin(), known_, found);
    return &known_.front();
  }
  One& add(uint64_t signature) {
    known_.push_front({signature, nullptr});
    if (known_.size() > kMost) known_.pop_back();
    return known_.front();
  }

 private:
  // Slots that grow leave recordings behind that are of no use any more.
  static constexpr size_t kMost = 8;
  std::list<One> known_;  // most recently used first
};

}  // namespace fx
