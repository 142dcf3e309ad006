// One loaded model on one back-end with its adapters: what applications hold.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "lora/hotswap.h"
#include "lora/library.h"
#include "pipeline/picture_text.h"
#include "pipeline/pipeline.h"

namespace fx {

// An adapter file and how strongly it acts.
struct AdapterChoice {
  std::filesystem::path file;
  float scale = 1.0f;
  bool operator==(const AdapterChoice&) const = default;
};

// What `use_adapters` did.
struct AdapterChange {
  SwapReport swap;
  double read_seconds = 0;               // files that were not in the library
  std::vector<std::string> warnings;     // keys of files that match nothing in the model
};

class Engine {
 public:
  // Loads the model. Throws as Model does.
  Engine(std::unique_ptr<Ops> ops, const std::filesystem::path& model_folder);

  // Makes these adapters, together, the active ones; an empty list removes all. Takes effect with the next picture. If it
  // throws, the adapters that were active stay so.
  AdapterChange use_adapters(const std::vector<AdapterChoice>& adapters);

  // Reads files ahead and makes room for each of these sets, so that later changes between them move no memory.
  void prepare_adapters(const std::vector<std::vector<AdapterChoice>>& sets);

  // The active adapters, for reports and picture texts.
  const AdapterSet& adapters() const { return hot_swap_.active(); }
  std::vector<AdapterUse> adapter_uses() const;

  Pipeline& pipeline() { return pipeline_; }
  const Model& model() const { return *model_; }
  const AdapterTarget& adapter_target() const { return target_; }
  HotSwap& hot_swap() { return hot_swap_; }
  Ops& ops() { return *ops_; }
  double load_seconds() const { return load_seconds_; }

 private:
  AdapterSet read(const std::vector<AdapterChoice>& choices, std::vector<std::string>* warnings);

  std::unique_ptr<Ops> ops_;
  double load_seconds_ = 0;
  std::unique_ptr<Model> model_;
  AdapterTarget target_;
  AdapterLibrary library_;
  AdapterSlots slots_;
  HotSwap hot_swap_;
  Pipeline pipeline_;
};

}  // namespace fx
