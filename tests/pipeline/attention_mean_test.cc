// Where attention leaves its mean out of its output, every layer that reads the output gets the mean, and no other does.
#include <gtest/gtest.h>

#include "backends/make_ops.h"
#include "lora/tiny_model.h"
#include "support/dry_ops.h"

namespace fx::test {
namespace {

// Whether the input of a layer begins where rows of attention's output do.
bool reads_attention(const LinearArgs& layer, const FluxActivations& a) {
  const int64_t row = a.attn_mlp.stride(1) * static_cast<int64_t>(size_of(a.attn_mlp.dtype()));
  const auto* begin = a.attn_mlp.data<std::byte>();
  const auto* x = layer.x.data<std::byte>();
  return x >= begin && x < begin + a.attn_mlp.bytes() && (x - begin) % row == 0;
}

TEST(AttentionMean, GoesToAllThatReadAttention) {
  for (const bool e4m3 : {true, false}) {
    const auto memory = make_reference_ops();
    DryOps ops(*memory);
    ParamStore params(ops.runtime(), {.plain = DType::bf16, .block_linear = DType::f8_e4m3, .e4m3_attention = e4m3});
    const Flux flux(params, tiny_flux());
    FluxActivations a(ops, tiny_flux(), flux.types(), {.txt_tokens = 3, .rows = 2, .columns = 3, .steps = 2});
    flux.forward(ops, a);

    EXPECT_EQ(ops.attentions().size(), 4);
    for (const AttentionArgs& attention : ops.attentions()) EXPECT_EQ(attention.o_mean.raw(), a.attn_mean.raw());
    EXPECT_EQ(a.attn_mean.defined(), e4m3);
    int readers = 0;
    for (const LinearArgs& layer : ops.linears()) {
      const bool reads = reads_attention(layer, a);
      readers += reads ? 1 : 0;
      EXPECT_EQ(layer.x_mean.raw(), reads ? a.attn_mean.raw() : nullptr);
    }
    EXPECT_EQ(readers, 2 * 2 + 2);  // both streams of two double blocks, and two single blocks
  }
}

}  // namespace
}  // namespace fx::test
