// Recorded steps where layers have two sets of weights: both are recorded at once, and an exchange asks for no recording.
#include "pipeline/denoiser.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "support/forwarding_ops.h"

namespace fx::test {
namespace {

// Records as a GPU does: what is issued is not run, and reads the weights that layers had then.
class LazyRuntime final : public ForwardingRuntime {
 public:
  explicit LazyRuntime(Runtime& inner) : ForwardingRuntime(inner) {}
  bool records() const override { return true; }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    return std::make_unique<Lazy>(*store, work);
  }

  ParamStore* store = nullptr;

 private:
  class Lazy final : public Recording {
   public:
    Lazy(ParamStore& store, std::function<void()> work)
        : store_(store), work_(std::move(work)), weights_(current()) {}
    void replay() override {
      const bool exchanged = current() != weights_;
      if (exchanged) store_.exchange_weight_sets();
      work_();
      if (exchanged) store_.exchange_weight_sets();
    }

   private:
    const void* current() const {
      for (const Param& param : store_.params()) {
        if (param.next.defined()) return param.tensor.raw();
      }
      return nullptr;
    }
    ParamStore& store_;
    std::function<void()> work_;
    const void* weights_;
  };
};

class LazyOps final : public ForwardingOps {
 public:
  LazyOps() : ForwardingOps(make_reference_ops()), runtime_(inner().runtime()) {}
  LazyRuntime& runtime() override { return runtime_; }

 private:
  LazyRuntime runtime_;
};

class TwoSets : public ::testing::Test {
 protected:
  TwoSets() {
    dynamic_cast<LazyOps&>(*model_.ops).runtime().store = &model_.flux_params;
    denoiser_.record_for_all([&](const auto& work) { model_.swap->with_other_arrangements(work); });
  }
  AdapterSet low_rank(const std::string& name) {
    return {{RandomAdapter(model_.target, name).low_rank(1.0f, 6).make()}};
  }
  // The latents after some steps.
  std::vector<float> draw(const AdapterSet& adapters) {
    model_.swap->apply(adapters);
    return draw();
  }
  std::vector<float> draw() {
    FluxActivations& a = denoiser_.activations({.txt_tokens = 3, .rows = 2, .columns = 3, .steps = 3});
    const FluxConfig& config = model_.flux.config();
    const auto normal = [](const std::string& name, const Shape& shape) {
      HostTensor tensor{name, shape, std::vector<float>(static_cast<size_t>(shape.count()))};
      Rng(name).fill_normal(tensor.values);
      return tensor;
    };
    const Conditions conditions{normal("prompt_embeds", {1, 3, config.context_dim}), normal("pooled", {1, config.vec_dim})};
    const HostTensor noise = normal("noise", a.latents.shape());
    denoiser_.begin(a, [&] { return noise.values; }, conditions, {1.0f, 0.7f, 0.4f, 0.0f}, {1000, 700, 400}, 3.5, nullptr);
    denoiser_.run(a, nullptr, nullptr);
    return download(*model_.ops, a.latents);
  }

  TinyModel model_{ModelTypes{.masters = true, .weight_sets = 2}, std::make_unique<LazyOps>()};
  Denoiser denoiser_{*model_.ops, model_.flux};
};

TEST_F(TwoSets, AreRecordedAtOnce) {
  model_.swap->reserve_rank(Component::transformer, 8);  // layers that carry nothing have their slots
  const std::vector<AdapterSet> sets = {{}, low_rank("a"), low_rank("b"), low_rank("c")};
  std::vector<std::vector<float>> direct;
  denoiser_.use_recordings(false);
  for (const AdapterSet& set : sets) direct.push_back(draw(set));
  EXPECT_EQ(denoiser_.captures(), 0u);
  denoiser_.use_recordings(true);
  for (const size_t which : {0, 1, 2, 3, 2, 0, 0, 1}) {
    EXPECT_EQ(draw(sets[which]), direct[which]) << which;
    EXPECT_EQ(denoiser_.captures(), 3u) << "after the first picture, whatever adapters come: two steps, and what comes before";
  }
}

// Two threads stage, each in its turn merging ahead, while the first draws what they have staged, and records steps again and
// again, as no arrangement is kept.
TEST_F(TwoSets, AreWrittenWhileStepsAreRecorded) {
  constexpr int kPictures = 40;
  model_.swap->reserve_rank(Component::transformer, 8);
  const std::vector<AdapterSet> sets = {{}, low_rank("a"), low_rank("b"), low_rank("c")};
  std::vector<std::vector<float>> direct;
  for (const AdapterSet& set : sets) direct.push_back(draw(set));
  std::mutex mutex;
  std::vector<std::pair<size_t, StagedAdapters>> ready;
  const auto stage = [&](uint64_t seed) {
    Rng rng(seed);
    for (int i = 0; i < kPictures / 2; ++i) {
      const auto which = static_cast<size_t>(rng.below(4));
      StagedAdapters staged = model_.swap->stage(sets[which]);
      const std::lock_guard lock(mutex);
      ready.emplace_back(which, std::move(staged));
    }
  };
  std::thread one([&] { stage(1); }), two([&] { stage(2); });
  for (int drawn = 0; drawn < kPictures;) {
    std::vector<std::pair<size_t, StagedAdapters>> now;
    {
      const std::lock_guard lock(mutex);
      now.swap(ready);
    }
    for (auto& [which, staged] : now) {
      model_.swap->publish(std::move(staged));
      denoiser_.limit_memory(1);
      denoiser_.activations({.txt_tokens = 3, .rows = 2, .columns = 2, .steps = 3});  // the others go
      EXPECT_EQ(draw(), direct[which]);
      ++drawn;
    }
  }
  one.join();
  two.join();
}

}  // namespace
}  // namespace fx::test
