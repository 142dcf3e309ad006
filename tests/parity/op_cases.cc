#include <algorithm>

#include "parity/op_case.h"

namespace fx::test {

std::vector<OpCase> test_cases() {
  std::vector<OpCase> all;
  for (const auto family : {linear_cases, lora_cases, attention_cases, norm_cases, pointwise_cases, image_cases}) {
    for (OpCase& c : family()) all.push_back(std::move(c));
  }
  return all;
}

std::vector<OpCase> narrow_cases() {
  std::vector<OpCase> all;
  for (OpCase& c : test_cases()) {
    Operands operands(c.name, Values::narrow);
    c.make(operands);
    const auto rounds = [](const Operands::Owned& o) { return o.narrow == DType::bf16; };
    if (std::ranges::any_of(operands.buffers(), rounds)) all.push_back(std::move(c));
  }
  for (const auto family : {low_precision_cases, merge_cases, front_cases}) {
    for (OpCase& c : family()) all.push_back(std::move(c));
  }
  return all;
}

std::vector<OpCase> flux_cases() {
  std::vector<OpCase> cases;
  const auto linear = [&](const char* label, const LinearShape& s, Activation activation = Activation::none) {
    cases.push_back(
        linear_case(fmt::format("linear/flux/{}_m{}_k{}_n{}", label, s.rows, s.depth, s.columns), s, activation));
  };
  linear("img_qkv", {1, 1024, 768, 2304});
  linear("img_proj", {1, 1024, 768, 768});
  linear("img_mlp_in", {1, 1024, 768, 3072}, Activation::gelu_tanh);
  linear("img_mlp_out", {1, 1024, 3072, 768});
  linear("txt_qkv", {1, 512, 768, 2304});
  linear("linear1", {1, 1536, 768, 5376}, Activation::gelu_tanh);
  linear("linear2", {1, 1536, 3840, 768});
  linear("modulation", {20, 1, 768, 4608});
  linear("vector", {1, 1, 768, 768}, Activation::silu);
  linear("demo_qkv", {1, 320, 192, 576});
  linear("demo_mlp_in", {1, 320, 192, 768}, Activation::gelu_tanh);
  linear("demo_mlp_out", {1, 320, 768, 192});
  cases.push_back(attention_case("attention/flux/l1536_h6_d128", {1, 1536, 1536, 6, 128}, AttentionKind::plain));
  cases.push_back(attention_case("attention/flux/demo_l320_h6_d32", {1, 320, 320, 6, 32}, AttentionKind::plain));
  cases.push_back(attention_case("attention/flux/t5_l512_h12_d64", {1, 512, 512, 12, 64}, AttentionKind::biased));
  cases.push_back(conv_case("conv2d/flux/128x128_c128", {1, 128, 128, 128, 128, 3}));
  cases.push_back(conv_case("conv2d/flux/64x64_c256", {1, 64, 64, 256, 256, 3}));
  cases.push_back(conv_case("conv2d/flux/256x256_c128_rgb", {1, 256, 256, 128, 3, 3}));
  return cases;
}

}  // namespace fx::test
