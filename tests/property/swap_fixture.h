// Adapters of every kind for the tiny model, and pictures with them, in all ways to hold the model.
#pragma once

#include <gtest/gtest.h>

#include "golden/golden_run.h"
#include "lora/adapter_file.h"
#include "support/temp_folder.h"

namespace fx::test {

class SwapFixture : public BackEndTest<std::string> {
 protected:
  static constexpr const char* kModel = "tiny-dev";
  static constexpr int kSteps = 5;
  using Set = std::vector<AdapterChoice>;

  void SetUp() override {
    BackEndTest::SetUp();
    if (IsSkipped()) return;
    engine_ = &engine_for(kModel, GetParam());
    engine_->use_adapters({});
    const AdapterTarget& target = engine_->adapter_target();
    low_rank_ = adapter_for(target, "low", 3).write(folder_ / "low.safetensors");
    attention_ = adapter_for(target, "attention", 5, "attn.").write(folder_ / "attention.safetensors");
    dora_ = dora(target).write(folder_ / "dora.safetensors");
    full_ = full(target).write(folder_ / "full.safetensors");
    kronecker_ = kronecker(target).write(folder_ / "kronecker.safetensors");
    clip_ = golden_adapter("clip");
    t5_ = golden_adapter("t5");
    folder_.file("broken.safetensors", "<!DOCTYPE html>");
  }
  void TearDown() override {
    if (engine_) engine_->use_adapters({});
  }

  static std::filesystem::path golden_adapter(const std::string& name) {
    return golden_folder() / kModel / "loras" / (name + ".safetensors");
  }
  static int64_t in_of(const AdapterTarget& target, const std::string& module) {
    return target.slots()[target.find(Component::transformer, module)->slot].slot->in;
  }
  static int64_t out_of(const AdapterTarget& target, const std::string& module) {
    return target.find(Component::transformer, module)->rows.count;
  }
  static AdapterFileBuilder dora(const AdapterTarget& target) {
    AdapterFileBuilder builder = adapter_for(target, "dora", 2, "single_transformer_blocks.0.attn");
    for (const char* part : {"to_q", "to_k", "to_v"}) {
      const std::string module = std::string("single_transformer_blocks.0.attn.") + part;
      builder.add("transformer." + module + ".lora_magnitude_vector", {out_of(target, module)},
                  std::vector<float>(static_cast<size_t>(out_of(target, module)), 2.0f));
    }
    return builder;
  }
  static AdapterFileBuilder full(const AdapterTarget& target) {
    const int64_t in = in_of(target, "double_blocks.0.img_attn.proj");
    return AdapterFileBuilder()
        .random("diffusion_model.double_blocks.0.img_attn.proj.diff", {in, in}, "full")
        .random("diffusion_model.double_blocks.0.img_attn.proj.diff_b", {in}, "bias")
        .pair("diffusion_model.double_blocks.0.txt_attn.proj", 2, in, in, "full");
  }
  static AdapterFileBuilder kronecker(const AdapterTarget& target) {
    const int64_t in = in_of(target, "single_blocks.0.linear2"), out = out_of(target, "single_blocks.0.linear2");
    return AdapterFileBuilder()
        .random("lycoris_single_blocks_0_linear2.lokr_w1", {2, 2}, "w1")
        .random("lycoris_single_blocks_0_linear2.lokr_w2", {out / 2, in / 2}, "w2")
        .add("lycoris_single_blocks_0_linear2.alpha", {}, {1.0f});
  }

  // Sets of every kind, alone and together.
  std::vector<Set> kinds() const {
    return {
        {{low_rank_}},
        {{dora_}},
        {{full_, {-0.5f}}},
        {{kronecker_, {0.5f}}},
        {{clip_}, {t5_, {0.5f}}},
        {{dora_}, {low_rank_, {0.3f}}, {kronecker_}},
        {{full_}, {attention_, {0.5f}}, {clip_}},
        {{low_rank_, {.scale = 0.7f, .merge = true}}},
        {{low_rank_, {.scale = 0.7f, .beside = true}}},
        {{attention_, {.blocks = {{"transformer_blocks.*.to_q", 0.0f}}}}},
        {{low_rank_, {.scale = 0.8f, .steps = {0.0, 0.6}}}, {full_, {.scale = 0.5f, .steps = {0.4, 1.0}}}},
    };
  }

  static Request request(uint64_t seed = 11) {
    Request r{.prompt = "a red star", .width = 64, .height = 64, .steps = kSteps};
    r.seed = seed;
    r.max_sequence_length = 8;
    return r;
  }
  std::vector<float> latents_with(const Set& adapters) {
    return engine_->generate_with(adapters, request()).latents.values;
  }
  size_t captures() { return engine_->pipeline().denoiser().captures(); }

  // f32, or the less that a way computes with.
  bool exact() const { return !way_has(GetParam(), "bf16") && !way_has(GetParam(), "fp8"); }

  TempFolder folder_;
  Engine* engine_ = nullptr;
  std::filesystem::path low_rank_, attention_, dora_, full_, kronecker_, clip_, t5_;
};

}  // namespace fx::test
