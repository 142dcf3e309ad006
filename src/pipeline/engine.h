// One loaded model on one back-end with its adapters: what applications hold.
#pragma once

#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "lora/apply/hotswap.h"
#include "lora/library.h"
#include "pipeline/picture_text.h"
#include "pipeline/pipeline.h"

namespace fx {

// An adapter file and how it is to act.
struct AdapterChoice {
  std::filesystem::path file;
  AdapterSettings settings;
  bool operator==(const AdapterChoice&) const = default;
};

// What a change of adapters did.
struct AdapterChange {
  SwapReport swap;
  double read_seconds = 0;            // files that were not in the library
  double stage_seconds = 0;           // checks, and the layout of what is to be written
  std::vector<std::string> warnings;  // keys of files that match nothing in the model
};

// For picture texts.
std::vector<AdapterUse> uses_of(const AdapterSet& adapters);

// Threads may share an engine: pictures are made one after the other, and while one is being made other threads read
// and stage the adapters of theirs. The accessors at the end are for a thread that has the engine to itself.
class Engine {
 public:
  // Loads the model. Throws as Model does.
  Engine(std::unique_ptr<Ops> ops, const std::filesystem::path& model_folder, const ModelOptions& options = {});
  // A model that is there already, on these ops.
  Engine(std::unique_ptr<Ops> ops, std::unique_ptr<Model> model);

  // Makes these adapters, together, the active ones; an empty list removes all. Takes effect with the next picture. If it
  // throws, the adapters that were active stay so.
  AdapterChange use_adapters(const std::vector<AdapterChoice>& adapters);

  // Makes a picture with the active adapters. Throws as Pipeline::generate does; the engine stays usable.
  Picture generate(const Request& request, const ProgressCallback& progress = nullptr);

  // use_adapters and generate, with nobody in between: the picture depends on the request and these adapters alone.
  // `change`, if given, is filled in.
  Picture generate_with(const std::vector<AdapterChoice>& adapters, const Request& request,
                        const ProgressCallback& progress = nullptr, AdapterChange* change = nullptr);

  // Begins to read, check and stage these adapters on a thread of its own, for the use_adapters or generate_with that will come
  // next with them: called before a picture is made, what follows it need not wait. What is wrong with them is thrown
  // there. `steps`, of the picture, counts where an adapter has a range of them. Other adapters may come all the same.
  void prepare_next(const std::vector<AdapterChoice>& adapters, std::optional<int> steps = std::nullopt);

  // Reads files ahead and makes room for each of these sets, so that later changes between them move no memory.
  void prepare_adapters(const std::vector<std::vector<AdapterChoice>>& sets);

  const Model& model() const { return *model_; }

  // The active adapters, for reports and picture texts.
  const AdapterSet& adapters() const { return hot_swap_.active(); }
  std::vector<AdapterUse> adapter_uses() const { return uses_of(hot_swap_.active()); }

  // Makes room in every linear layer of the transformer for adapters of this rank on each of its parts, so that none of at
  // most that rank moves memory. On the thread that has the engine to itself.
  void reserve_rank(int64_t rank);

  // Its `generate` makes adapters act at all steps, whatever their range.
  Pipeline& pipeline() { return pipeline_; }
  const AdapterTarget& adapter_target() const { return target_; }
  HotSwap& hot_swap() { return hot_swap_; }
  AdapterLibrary& library() { return library_; }
  Ops& ops() { return *ops_; }
  double load_seconds() const { return load_seconds_; }

 private:
  struct Loaded {
    std::unique_ptr<Ops> ops;
    std::unique_ptr<Model> model;
    double seconds;
  };
  explicit Engine(Loaded&& loaded);
  static Loaded timed_load(std::unique_ptr<Ops> ops, const std::filesystem::path& folder, const ModelOptions& options);
  AdapterSet read(const std::vector<AdapterChoice>& choices, AdapterChange* change);
  struct Staged {
    StagedAdapters adapters;
    AdapterChange change;
  };
  Staged stage(const std::vector<AdapterChoice>& choices, std::optional<int> steps);
  Staged staged(const std::vector<AdapterChoice>& choices, std::optional<int> steps);
  Picture generate_locked(const Request& request, const ProgressCallback& progress);

  std::unique_ptr<Ops> ops_;
  double load_seconds_ = 0;
  std::unique_ptr<Model> model_;
  AdapterTarget target_;
  AdapterLibrary library_;
  AdapterSlots slots_;
  HotSwap hot_swap_;
  Pipeline pipeline_;
  std::mutex mutex_;  // held while a picture is made or adapters are published

  struct Next {
    std::vector<AdapterChoice> choices;
    std::optional<int> steps;
    std::future<Staged> staged;
    bool is(const std::vector<AdapterChoice>& wanted, std::optional<int> wanted_steps) const;
  };
  std::mutex next_mutex_;
  std::optional<Next> next_;  // the last member: its thread ends before the others go
};

}  // namespace fx
