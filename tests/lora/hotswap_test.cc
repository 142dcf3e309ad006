// Changing adapters: exact, undone without a trace, and without moving an address.
#include "lora/apply/hotswap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "lora/adapter_file.h"
#include "lora/file/read.h"
#include "lora/library.h"
#include "lora/tiny_model.h"
#include "ops/recording_ops.h"
#include "support/compare.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;
using AdapterPtr = std::shared_ptr<const Adapter>;

class HotSwapTest : public ::testing::Test {
 protected:
  AdapterPtr adapter(AdapterFileBuilder builder, const std::string& name = "a") {
    return std::make_shared<Adapter>(read_adapter(builder.write(folder_ / (name + ".safetensors")), model_.target));
  }
  AdapterPtr everywhere(const std::string& seed, int64_t rank = 2) {
    return adapter(adapter_for(model_.target, seed, rank), seed);
  }
  // Addresses of all operands.
  std::vector<const void*> addresses() const {
    std::vector<const void*> all;
    for (const AdapterTarget::Slot& slot : model_.target.slots()) {
      const LoraOperand& o = slot.slot->operand;
      for (const Tensor& t : {o.a, o.b, o.scale, o.segments, o.count}) all.push_back(t.raw());
    }
    return all;
  }

  TempFolder folder_;
  TinyModel model_;
};

TEST_F(HotSwapTest, TakesNoMemoryWithoutAdapters) {
  const std::vector<float> base = model_.run();
  EXPECT_EQ(model_.slots->bytes(), 0u);
  EXPECT_EQ(model_.swap->generation(), 0u);
  const SwapReport report = model_.swap->apply({});
  EXPECT_EQ(report.bytes, 0u);
  EXPECT_FALSE(report.transformer || report.text_encoders || report.grew);
  EXPECT_EQ(model_.run(), base);
}

TEST_F(HotSwapTest, ReturnsBitwiseToAnEarlierAdapterAndToNone) {
  const AdapterPtr a = everywhere("a", 2), b = everywhere("b", 3);
  const std::vector<float> base = model_.run();
  const std::vector<float> with_a = model_.run_with({{a}});
  const std::vector<float> with_b = model_.run_with({{b}});
  EXPECT_GT(relative_error(with_a, base), 0.01);
  EXPECT_GT(relative_error(with_b, with_a), 0.01);
  EXPECT_EQ(model_.run_with({{a}}), with_a);
  EXPECT_EQ(model_.run_with({}), base);
  EXPECT_NE(model_.run_with({{b, 0.5f}, {a, -1.0f}}), with_b);
  EXPECT_EQ(model_.run_with({{b}}), with_b);
}

TEST_F(HotSwapTest, ZeroMatricesAndZeroScalesAreNoAdapter) {
  const std::vector<float> base = model_.run();
  Adapter zero = *everywhere("a");
  for (Patch& patch : zero.patches) {
    const std::vector<float> zeros(static_cast<size_t>(patch.b.rows() * patch.b.columns()));
    patch.b = Matrix::of(patch.b.rows(), patch.b.columns(), zeros);
  }
  EXPECT_EQ(model_.run_with({{std::make_shared<Adapter>(zero)}}), base);
  EXPECT_EQ(model_.run_with({{everywhere("b"), 0.0f}}), base);
}

// W + scale * B A, computed here and written over the weights, must do what the slots do.
TEST_F(HotSwapTest, EqualsMergedWeights) {
  const AdapterPtr a = everywhere("a", 3), b = everywhere("b", 5);
  const std::vector<float> base = model_.run();
  const std::vector<float> slotted = model_.run_with({{a, 0.75f}, {b, -0.5f, 1.25f}});
  model_.swap->apply({});
  const auto merge = [&](const Adapter& adapter, float scale, float text_scale) {
    for (const Patch& patch : adapter.patches) {
      const Tensor rows = model_.layer(patch.component, patch.module)
                              .weight->tensor.slice(0, patch.rows.begin, patch.rows.begin + patch.rows.count);
      std::vector<float> weight = download(*model_.ops, rows);
      const std::vector<float> A = patch.a.values(), B = patch.b.values();
      const double s = patch.scale * (patch.component == Component::transformer ? scale : text_scale);
      for (int64_t i = 0; i < patch.rows.count; ++i) {
        for (int64_t j = 0; j < patch.in(); ++j) {
          double sum = 0;
          for (int64_t r = 0; r < patch.rank(); ++r)
            sum += static_cast<double>(B[i * patch.rank() + r]) * A[r * patch.in() + j];
          weight[i * patch.in() + j] += static_cast<float>(s * sum);
        }
      }
      upload(*model_.ops, weight, rows);
    }
  };
  merge(*a, 0.75f, 0.75f);
  merge(*b, -0.5f, 1.25f);
  EXPECT_LT(relative_error(minus(slotted, base), minus(model_.run(), base)), 1e-5);
}

TEST_F(HotSwapTest, AddsUpAdaptersAndScalesTheirDifference) {
  const AdapterPtr a = adapter(adapter_for(model_.target, "a", 2, "x_embedder"), "a");
  const AdapterPtr b = adapter(adapter_for(model_.target, "b", 7, "x_embedder"), "b");
  const Tensor x = model_.activations.latents, y = model_.activations.normed.rows(0, 6).values;  // (1, 6, 8), (1, 6, 16)
  const LoraSlot& layer = model_.layer(Component::transformer, "img_in");
  const auto output = [&](const AdapterSet& set) {
    model_.swap->apply(set);
    model_.ops->linear({.x = x, .weight = layer.weight->tensor, .lora = layer.operand, .outputs = {LinearOutput{y}}});
    return download(*model_.ops, y);
  };
  model_.run();  // fills the latents
  const std::vector<float> base = output({});
  const std::vector<float> delta_a = minus(output({{a}}), base), delta_b = minus(output({{b}}), base);
  std::vector<float> sum = delta_a, twice = delta_a;
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += delta_b[i];
    twice[i] *= 2;
  }
  EXPECT_LT(relative_error(minus(output({{a}, {b}}), base), sum), 1e-5);
  EXPECT_LT(relative_error(minus(output({{a, 2.0f}}), base), twice), 1e-5);
  EXPECT_LT(relative_error(minus(output({{a}, {a}}), base), twice), 1e-5) << "the same adapter twice";
}

TEST_F(HotSwapTest, ScalesTextEncodersOnTheirOwn) {
  const AdapterPtr a = everywhere("a");
  const AdapterPtr text = adapter(adapter_for(model_.target, "a", 2, "text_encoder"), "text");
  const AdapterPtr transformer = adapter(adapter_for(model_.target, "a", 2, "transformer."), "transformer");
  const std::vector<float> no_text = model_.run_with({{a, 1.0f, 0.0f}});
  EXPECT_EQ(no_text, model_.run_with({{transformer}}));
  const std::vector<float> only_text = model_.run_with({{a, 0.0f, 0.5f}});
  const SwapReport report = model_.swap->apply({{text, 0.5f}});
  EXPECT_TRUE(report.text_encoders);
  EXPECT_EQ(model_.run(), only_text);
  EXPECT_NE(only_text, no_text);
  EXPECT_FALSE(model_.swap->apply({{text, 0.5f}, {transformer}}).text_encoders);
  EXPECT_TRUE(model_.swap->apply({{text, 0.5f}}).transformer);
}

TEST_F(HotSwapTest, FailedStagesChangeNothing) {
  const AdapterPtr a = everywhere("a"), b = everywhere("b");
  const std::vector<float> before = model_.run_with({{a, 0.5f}});
  const uint64_t generation = model_.swap->generation();
  const auto refused = [&](const AdapterSet& set) {
    return error_of(ErrorCode::invalid_argument, [&] { model_.swap->stage(set); });
  };
  EXPECT_THAT(refused({{b}, {b, std::numeric_limits<float>::quiet_NaN()}}), HasSubstr("finite scale"));
  EXPECT_THAT(refused({{b, 1.0f, std::numeric_limits<float>::infinity()}}), HasSubstr("finite scale"));
  EXPECT_THAT(refused({{nullptr}}), HasSubstr("missing"));
  Adapter foreign = *b;
  foreign.patches.back().module = "elsewhere";
  EXPECT_THAT(refused({{std::make_shared<Adapter>(foreign)}}), HasSubstr("read for another model"));
  foreign = *b;
  foreign.patches.back().a = Matrix::of(1, 999, std::vector<float>(999));
  EXPECT_THAT(refused({{std::make_shared<Adapter>(foreign)}}), HasSubstr("read for another model"));
  const auto bad =
      AdapterFileBuilder().pair("transformer.context_embedder", 2, 999, 16).write(folder_ / "bad.safetensors");
  error_of(ErrorCode::bad_file, [&] { read_adapter(bad, model_.target); });
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { model_.swap->set_scales({1, 2}); }), HasSubstr("expected 1"));
  EXPECT_EQ(model_.run(), before);
  EXPECT_EQ(model_.swap->active().size(), 1u);
  EXPECT_EQ(model_.swap->generation(), generation);

  const StagedAdapters staged = model_.swap->stage({{b}});  // and dropped
  EXPECT_EQ(staged.adapters().size(), 1u);
  EXPECT_EQ(model_.run(), before);
}

TEST_F(HotSwapTest, KeepsAddressesWithinCapacityAndCountsGrowth) {
  const AdapterPtr small = everywhere("small", 1), other = everywhere("other", 1), large = everywhere("large", 17);
  const SwapReport first = model_.swap->apply({{small}});
  EXPECT_TRUE(first.grew);
  EXPECT_EQ(model_.swap->generation(), 1u);
  const auto before = addresses();
  const std::vector<float> with_small = model_.run();
  EXPECT_FALSE(model_.swap->apply({{other, 3.0f}}).grew);
  EXPECT_FALSE(model_.swap->apply({}).grew);
  EXPECT_EQ(addresses(), before);
  EXPECT_EQ(model_.swap->generation(), 1u);
  EXPECT_TRUE(model_.swap->apply({{large}}).grew);
  EXPECT_EQ(model_.swap->generation(), 2u);
  EXPECT_NE(addresses(), before);
  const auto after = addresses();
  EXPECT_EQ(model_.run_with({{small}}), with_small);
  EXPECT_EQ(addresses(), after) << "slots do not shrink";
}

TEST_F(HotSwapTest, GrowsToPowersOfTwo) {
  EXPECT_EQ(grown({}, {8, 8, 1}), (SlotSize{16, 16, 4}));
  EXPECT_EQ(grown({16, 16, 4}, {24, 8, 4}), (SlotSize{32, 16, 4}));
  EXPECT_EQ(grown({16, 16, 4}, {8, 24, 9}), (SlotSize{16, 32, 16}));
  EXPECT_EQ(grown({}, {64, 64, 3}), (SlotSize{64, 64, 4}));
}

TEST_F(HotSwapTest, ReservesForTheLargestSetAtOnce) {
  const AdapterPtr a = everywhere("a", 2), b = everywhere("b", 6), c = everywhere("c", 1);
  const AdapterSet many = {{a}, {b}, {c}, {a}, {c}};
  const std::vector<float> with_c = model_.run_with({{c}});
  model_.swap->reserve({{{a}}, {{b}}, many});
  EXPECT_EQ(model_.run(), with_c) << "what is active stays active";
  const uint64_t generation = model_.swap->generation();
  const auto before = addresses();
  for (const AdapterSet& set : {AdapterSet{{a}}, AdapterSet{{b}}, many, AdapterSet{}, AdapterSet{{c}}}) {
    EXPECT_FALSE(model_.swap->apply(set).grew);
  }
  EXPECT_EQ(addresses(), before);
  EXPECT_EQ(model_.swap->generation(), generation);
  EXPECT_EQ(model_.run(), with_c);
  model_.swap->reserve({many});
  EXPECT_EQ(model_.swap->generation(), generation) << "nothing left to reserve";
}

TEST_F(HotSwapTest, WritesOnlyWhatChanges) {
  const AdapterPtr attention = adapter(adapter_for(model_.target, "a", 2, "attn."), "attention");
  const AdapterPtr mlp = adapter(adapter_for(model_.target, "b", 2, "ff."), "mlp");
  const SwapReport first = model_.swap->apply({{attention}});
  EXPECT_GT(first.slots_written, 0u);
  const SwapReport second = model_.swap->apply({{attention}, {mlp}});
  EXPECT_EQ(second.slots_written, 4u) << "ff.net.0.proj and ff.net.2 of two blocks";
  EXPECT_EQ(second.slots_cleared, 0u);
  const SwapReport third = model_.swap->apply({{mlp}});
  EXPECT_EQ(third.slots_written, 0u);
  EXPECT_EQ(third.slots_cleared, first.slots_written);
  EXPECT_EQ(model_.swap->apply({{mlp}}).bytes, 0u);
}

TEST_F(HotSwapTest, SetsScalesWithoutTouchingMatrices) {
  const AdapterPtr a = everywhere("a"), b = everywhere("b");
  const std::vector<float> expected = model_.run_with({{a, 0.25f}, {b, -2.0f}});
  const std::vector<float> without_b = model_.run_with({{a, 0.25f}, {b, 0.0f}});
  const SwapReport full = model_.swap->apply({});
  const SwapReport whole = model_.swap->apply({{a}, {b}});
  const SwapReport report = model_.swap->set_scales({0.25f, -2.0f});
  EXPECT_EQ(report.slots_written, 0u);
  EXPECT_EQ(report.slots_rescaled, whole.slots_written);
  EXPECT_LT(report.bytes, whole.bytes / 2);  // tiny layers: numbers beside the matrices are padded to 768 bytes a layer
  EXPECT_EQ(full.slots_cleared, whole.slots_written);
  EXPECT_EQ(model_.run(), expected);
  model_.swap->set_scales({0.25f, 0.0f});
  EXPECT_EQ(model_.run(), without_b);
  model_.swap->set_scales({0.25f, -2.0f});
  EXPECT_EQ(model_.run(), expected);
}

TEST_F(HotSwapTest, StagesOnAnotherThreadAndAgainIfTheStateMovedOn) {
  const AdapterPtr a = everywhere("a"), b = everywhere("b", 12);
  const std::vector<float> expected = model_.run_with({{a}});
  model_.swap->apply({});
  StagedAdapters staged;
  std::thread worker([&] { staged = model_.swap->stage({{a}}); });
  model_.run();
  worker.join();
  model_.swap->apply({{b}});  // other contents, and other sizes of the slots
  model_.swap->publish(std::move(staged));
  EXPECT_EQ(model_.run(), expected);
}

// What a recorded step reads is decided when it runs: replay after a swap equals direct execution.
TEST_F(HotSwapTest, RecordedStepsFollowASwap) {
  const AdapterPtr a = everywhere("a"), b = everywhere("b", 1);
  model_.swap->reserve({{{a}, {b}}});
  model_.run_with({{a}});
  RecordingOps recorder(*model_.ops);
  recorder.start_recording();
  model_.flux.prepare(recorder, model_.activations);
  model_.flux.forward(recorder, model_.activations);
  recorder.stop_recording();
  for (const AdapterSet& set : {AdapterSet{{b, 0.5f}}, AdapterSet{{a}, {b}}, AdapterSet{}, AdapterSet{{a}}}) {
    const std::vector<float> direct = model_.run_with(set);
    std::vector<float> none(direct.size(), 0.0f);
    upload(*model_.ops, none, model_.activations.velocity);
    recorder.replay();
    EXPECT_EQ(download(*model_.ops, model_.activations.velocity), direct);
  }
}

// Kernels are launched with the room for segments, and scales lie behind them: memory that comes back at the same address is
// another arrangement if that has changed.
TEST_F(HotSwapTest, ARecordedStepKnowsTheRoomForSegments) {
  model_.run_with({{everywhere("a")}});
  LoraOperand& operand = model_.layer(Component::transformer, "double_blocks.0.img_attn.qkv").operand;
  const uint64_t before = model_.flux.step_signature();
  const Tensor segments = operand.segments;
  operand.segments = Tensor(segments.raw(), DType::i32, {2 * segments.size(0), segments.size(1)});
  EXPECT_NE(model_.flux.step_signature(), before);
  operand.segments = segments;
  EXPECT_EQ(model_.flux.step_signature(), before);
}

TEST_F(HotSwapTest, SlotsTakeTheirOperandsWithThem) {
  model_.run_with({{everywhere("a")}});
  EXPECT_GT(model_.slots->bytes(), 0u);
  model_.swap.reset();
  model_.slots.reset();
  for (const AdapterTarget::Slot& slot : model_.target.slots()) EXPECT_FALSE(slot.slot->operand.defined());
}

// Host memory that ends after some allocations.
class SmallRuntime final : public Runtime {
 public:
  std::string device_name() const override { return "small"; }
  void* allocate(size_t bytes) override {
    check(allocations_left-- > 0, ErrorCode::out_of_memory, "cannot allocate {} bytes", bytes);
    return inner_->allocate(bytes);
  }
  void release(void* data, size_t bytes) noexcept override { inner_->release(data, bytes); }
  void copy(void* target, const void* source, size_t bytes, CopyKind kind) override {
    inner_->copy(target, source, bytes, kind);
  }
  void fill_zero(void* target, size_t bytes) override { inner_->fill_zero(target, bytes); }
  void synchronize() override { inner_->synchronize(); }
  MemoryInfo memory() const override { return inner_->memory(); }

  int allocations_left = 1000;

 private:
  std::unique_ptr<Runtime> inner_ = make_host_runtime();
};

TEST(HotSwapMemory, RunsOutWithoutATrace) {
  SmallRuntime runtime;
  ParamStore store(runtime);
  for (const char* module : {"x", "y"})
    store.declare_slot(module, store.declare(std::string(module) + ".weight", {3, 2}));
  NameMap names = vae_name_map(parameter_names(store));
  AdapterTarget target;
  target.add(Component::transformer, names, store);
  AdapterSlots slots(target);
  const auto ops = make_reference_ops();
  HotSwap swap(*ops, slots);
  const auto adapter = [](int64_t rank) {
    Adapter result{.name = "a"};
    for (const char* module : {"x", "y"}) {
      const std::vector<float> ones(static_cast<size_t>(3 * rank), 1.0f);
      const LowRank pair{Matrix::of(rank, 2, std::span(ones).first(2 * rank)), Matrix::of(3, rank, ones)};
      result.patches.push_back({pair, Component::transformer, module, {0, 3}, 1.0f});
    }
    return std::make_shared<const Adapter>(result);
  };
  const AdapterSet small = {{adapter(1)}}, large = {{adapter(17)}};
  swap.apply(small);
  const LoraOperand before = slots.operand(0);
  const auto bits = [&] {  // nobody wrote some of it: NaN may be there
    const auto* first = before.b.data<const std::byte>();
    return std::vector<std::byte>(first, first + before.b.bytes());
  };
  const std::vector<std::byte> b = bits();
  const size_t bytes = runtime.memory().current_bytes;
  for (const int allocations : {0, 1}) {  // each slot takes one
    runtime.allocations_left = allocations;
    error_of(ErrorCode::out_of_memory, [&] { swap.apply(large); });
    error_of(ErrorCode::out_of_memory, [&] { swap.reserve({large}); });
    EXPECT_EQ(slots.operand(0).b.raw(), before.b.raw());
    EXPECT_EQ(bits(), b);
    EXPECT_EQ(*before.count.i32(), 1);
    EXPECT_EQ(swap.active(), small);
    EXPECT_EQ(swap.generation(), 1u);
    EXPECT_EQ(runtime.memory().current_bytes, bytes);
  }
  runtime.allocations_left = 10;
  EXPECT_TRUE(swap.apply(large).grew);
}

TEST(AdapterLibraryTest, ReadsAFileOnceUntilItChanges) {
  TempFolder folder;
  TinyModel model;
  AdapterLibrary library(model.target);
  const auto path = adapter_for(model.target, "a").write(folder / "a.safetensors");
  bool cached = true;
  const AdapterPtr first = library.get(path, &cached);
  EXPECT_FALSE(cached);
  EXPECT_EQ(library.get(folder.path() / "." / "a.safetensors", &cached), first);
  EXPECT_TRUE(cached);
  EXPECT_EQ(library.bytes(), first->bytes());
  adapter_for(model.target, "b", 5).write(path);
  const AdapterPtr second = library.get(path, &cached);
  EXPECT_FALSE(cached);
  EXPECT_NE(second->hash.sha256(), first->hash.sha256());
  EXPECT_EQ(library.bytes(), second->bytes());
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { library.get(folder / "none.safetensors"); }),
              HasSubstr("none.safetensors"));
  error_of(ErrorCode::bad_file, [&] { library.get(folder.path()); });
}

TEST(AdapterLibraryTest, DropsTheLeastRecentlyUsed) {
  TempFolder folder;
  TinyModel model;
  const auto a = adapter_for(model.target, "a").write(folder / "a.safetensors");
  const auto b = adapter_for(model.target, "b").write(folder / "b.safetensors");
  const auto c = adapter_for(model.target, "c").write(folder / "c.safetensors");
  AdapterLibrary library(model.target, read_adapter(a, model.target).bytes() * 5 / 2);
  library.get(a);
  library.get(b);
  library.get(a);
  library.get(c);  // b goes
  bool cached = false;
  library.get(a, &cached);
  EXPECT_TRUE(cached);
  library.get(b, &cached);
  EXPECT_FALSE(cached);
}

}  // namespace
}  // namespace fx::test
