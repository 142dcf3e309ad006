// Every file that must not be loaded, and what is said about it. All messages are one line that begins with the file.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lora/adapter_file.h"
#include "lora/file/read.h"
#include "lora/tiny_model.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kQ = "transformer.transformer_blocks.0.attn.to_q";
const std::string kDown = kQ + ".lora_A.weight", kUp = kQ + ".lora_B.weight";

class RefuseAdapter : public ::testing::Test {
 protected:
  std::string refusal(AdapterFileBuilder& builder, ErrorCode code = ErrorCode::bad_file) {
    const auto path = builder.write(folder_ / "a.safetensors");
    const std::string message = error_of(code, [&] { read_adapter(path, model_.target); });
    EXPECT_THAT(message, StartsWith(path.string()));
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    return message;
  }
  // A file whose other keys are good.
  std::string refusal_of_key(const std::string& key, ErrorCode code = ErrorCode::unsupported) {
    AdapterFileBuilder builder;
    builder.pair(kQ, 2, 16, 16).add(key, {2, 2}, {1, 2, 3, 4});
    return refusal(builder, code);
  }
  AdapterFileBuilder good() {
    AdapterFileBuilder builder;
    return builder.pair(kQ, 2, 16, 16);
  }

  TempFolder folder_;
  TinyModel model_;
};

TEST_F(RefuseAdapter, OfAnotherFamilyByName) {
  for (const auto& [key, family] : std::vector<std::pair<std::string, std::string>>{
           {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "Stable Diffusion 1.5"},
           {"lora_unet_input_blocks_4_1_proj_in.lora_down.weight", "SDXL"},
           {"unet.up_blocks.0.attn.to_q.lora_A.weight", "Stable Diffusion 1.5"},
           {"unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.lora_A.weight", "SDXL"},
           {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "SDXL"},
           {"text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "SDXL"},
           {"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "Stable Diffusion 3"},
           {"transformer.double_stream_modulation_img.linear.lora_A.weight", "FLUX.2"},
           {"transformer.transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight", "Qwen-Image"},
           {"transformer.context_embedder.token_refiner.x.lora_A.weight", "HunyuanVideo"},
           {"transformer_blocks.0.txt_mod.1.lora_A.weight", "Qwen-Image"},
           {"diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight", "HunyuanVideo"},
           {"lora_unet_double_blocks_0_txt_mlp_fc2.lora_down.weight", "HunyuanVideo"},
           {"diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"},
           {"base_model.model.diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"},
           {"lycoris_blocks_0_self_attn_q.lokr_w1", "Wan"},
           {"distilled_guidance_layer.in_proj.lora_A.weight", "Chroma"}}) {
    EXPECT_THAT(refusal_of_key(key), AllOf(HasSubstr("adapter of another model family (" + family), HasSubstr(key)));
  }
}

TEST_F(RefuseAdapter, OfAnotherFamilyByItsSizes) {
  AdapterFileBuilder wide;
  EXPECT_THAT(refusal(wide.pair(kQ, 2, 24, 16)), AllOf(HasSubstr("'" + kDown + "': expected (2, 16)"),
                                                       HasSubstr("found (2, 24)"), HasSubstr("another model")));
  AdapterFileBuilder tall;
  EXPECT_THAT(refusal(tall.pair(kQ, 2, 16, 24)),
              AllOf(HasSubstr("'" + kUp + "': expected (16, 2)"), HasSubstr("found (24, 2)")));
  AdapterFileBuilder deep = good();
  EXPECT_THAT(refusal(deep.pair("transformer.transformer_blocks.2.attn.to_q", 2, 16, 16)),
              HasSubstr("transformer_blocks.2.attn.to_q.lora_A.weight' is for a block that this model does not have"));
  AdapterFileBuilder deep_text = good();
  EXPECT_THAT(refusal(deep_text.pair("text_encoder.text_model.encoder.layers.30.mlp.fc1", 2, 10, 14)),
              HasSubstr("block that this model does not have"));
}

TEST_F(RefuseAdapter, ThatMatchesNothing) {
  AdapterFileBuilder builder;
  builder.pair("transformer.blobs.0.q", 1, 2, 2).pair("transformer.blobs.1.q", 1, 2, 2);
  EXPECT_THAT(refusal(builder), AllOf(HasSubstr("another model family: no key matches"),
                                      HasSubstr("transformer.blobs.0.q"), HasSubstr("and 1 more")));
}

TEST_F(RefuseAdapter, WhoseTextEncoderContradictsItself) {
  AdapterFileBuilder hidden, mlp;
  hidden.pair("text_encoder.encoder.layers.0.mlp.fc1", 2, 10, 14);
  hidden.pair("text_encoder.encoder.layers.0.self_attn.q_proj", 2, 12, 12);
  EXPECT_THAT(refusal(hidden),
              AllOf(HasSubstr("hidden size of the text_encoder is 12"), HasSubstr("fc1.lora_A.weight' is 10")));
  mlp.pair("text_encoder_2.encoder.block.0.layer.1.DenseReluDense.wi_0", 2, 12, 14);
  mlp.pair("text_encoder_2.encoder.block.0.layer.1.DenseReluDense.wo", 2, 13, 12);
  EXPECT_THAT(refusal(mlp), HasSubstr("mlp size of the text_encoder_2 is 13"));
}

// Of FLUX.1's relatives with its names, told by their sizes.
TEST_F(RefuseAdapter, NamesTheFamilyByItsSizes) {
  const auto family = [&](const std::string& module, int64_t in, int64_t out) {
    AdapterFileBuilder builder;
    return refusal(builder.pair(module, 2, in, out));
  };
  EXPECT_THAT(family("transformer.transformer_blocks.59.attn.to_q", 3072, 3072), HasSubstr("Qwen-Image"));
  EXPECT_THAT(family("transformer.transformer_blocks.23.attn.to_q", 1536, 1536), HasSubstr("Stable Diffusion 3"));
  EXPECT_THAT(family("transformer.transformer_blocks.0.attn.to_q", 2432, 2432), HasSubstr("Stable Diffusion 3.5"));
  EXPECT_THAT(family("diffusion_model.double_blocks.1.img_attn.qkv", 6144, 18432), HasSubstr("FLUX.2"));
  EXPECT_THAT(family("diffusion_model.single_blocks.0.linear1", 3072, 9 * 3072), HasSubstr("FLUX.2"));
  EXPECT_THAT(family("diffusion_model.single_blocks.0.linear1", 3072, 7 * 3072), HasSubstr("FLUX.1"));
  EXPECT_THAT(family("transformer.transformer_blocks.0.attn.to_q", 3072, 3072), HasSubstr("FLUX.1"));
  AdapterFileBuilder hunyuan;
  hunyuan.pair("diffusion_model.double_blocks.19.img_attn.qkv", 1, 3072, 9216);
  EXPECT_THAT(refusal(hunyuan.pair("diffusion_model.single_blocks.39.linear2", 1, 15360, 3072)),
              AllOf(HasSubstr("block that this model does not have"), HasSubstr("HunyuanVideo")));
}

TEST_F(RefuseAdapter, WithAnUnsupportedAlgorithm) {
  for (const auto& [suffix, algorithm] :
       std::vector<std::pair<std::string, std::string>>{{".lora_mid.weight", "Tucker"},
                                                        {".hada_t1", "Tucker"},
                                                        {".lokr_t2", "Tucker"},
                                                        {".a1.weight", "GLoRA"},
                                                        {".bm.weight", "GLoRA"},
                                                        {".oft_blocks", "OFT"},
                                                        {".oft_diag", "OFT"},
                                                        {".boft_R", "BOFT"},
                                                        {".ia3_l", "IA3"},
                                                        {".vera_lambda_d", "VeRA"},
                                                        {".on_input", "IA3"}}) {
    EXPECT_THAT(refusal_of_key(kQ + suffix),
                AllOf(HasSubstr(algorithm), HasSubstr("not supported"), HasSubstr(suffix)));
  }
  EXPECT_THAT(refusal_of_key("oft_unet_double_blocks_0_img_attn_qkv.oft_diag"), HasSubstr("OFT"));
  AdapterFileBuilder glora;  // several parts of one module
  for (const char* part : {".a1.weight", ".a2.weight", ".b1.weight"}) glora.random(kQ + part, {2, 2}, part);
  EXPECT_THAT(refusal(glora, ErrorCode::unsupported), HasSubstr("GLoRA"));
}

// A part of LoHa, LoKr or DoRA without the others, or of sizes that do not fit.
TEST_F(RefuseAdapter, WhosePartsAreIncomplete) {
  const auto parts = [&](const std::vector<std::pair<std::string, Shape>>& suffixes) {
    AdapterFileBuilder builder;
    for (const auto& [suffix, shape] : suffixes) builder.random(kQ + suffix, shape, suffix);
    return refusal(builder);
  };
  EXPECT_THAT(parts({{".hada_w1_a", {16, 2}}, {".hada_w1_b", {2, 16}}, {".hada_w2_a", {16, 2}}}),
              AllOf(HasSubstr("hada_w2_b"), HasSubstr("missing")));
  EXPECT_THAT(
      parts({{".hada_w1_a", {16, 2}}, {".hada_w1_b", {2, 16}}, {".hada_w2_a", {16, 3}}, {".hada_w2_b", {2, 16}}}),
      HasSubstr("different ranks"));
  EXPECT_THAT(
      parts({{".hada_w1_a", {16, 2}}, {".hada_w1_b", {2, 16}}, {".hada_w2_a", {8, 2}}, {".hada_w2_b", {2, 16}}}),
      HasSubstr("different sizes"));
  EXPECT_THAT(parts({{".lokr_w1", {4, 4}}}), AllOf(HasSubstr("lokr_w2"), HasSubstr("missing")));
  EXPECT_THAT(parts({{".lokr_w1", {4, 4}}, {".lokr_w2_a", {4, 1}}}), HasSubstr("lokr_w2_b"));
  EXPECT_THAT(parts({{".lokr_w1", {4, 4}}, {".lokr_w1_a", {4, 1}}, {".lokr_w2", {4, 4}}}), HasSubstr("both whole"));
  EXPECT_THAT(parts({{".lokr_w1", {4, 4}}, {".lokr_w2", {5, 4}}}),
              AllOf(HasSubstr("expected a change of (16, 16)"), HasSubstr("found (20, 16)")));
  EXPECT_THAT(parts({{".dora_scale", {16, 1}}}), AllOf(HasSubstr("matrices"), HasSubstr("missing")));
  EXPECT_THAT(parts({{".lora_B.bias", {16}}}), HasSubstr("missing"));
  EXPECT_THAT(parts({{".diff", {16, 8}}}), HasSubstr("found (16, 8)"));
  EXPECT_THAT(parts({{".diff", {16}}}), HasSubstr("expected a matrix"));
  EXPECT_THAT(parts({{".diff_b", {15}}}), HasSubstr("expected a change of (16, 1)"));
  EXPECT_THAT(parts({{".diff_b", {16, 1}}}), HasSubstr("expected a vector"));
  AdapterFileBuilder magnitude = good(), twice = good();
  EXPECT_THAT(refusal(magnitude.random(kQ + ".dora_scale", {1, 15}, "m")),
              AllOf(HasSubstr("(1, 16)"), HasSubstr("(1, 15)")));
  twice.random(kQ + ".dora_scale", {16, 1}, "m").random(kQ + ".magnitude", {16}, "m");
  EXPECT_THAT(refusal(twice), HasSubstr("two DoRA magnitudes"));
  AdapterFileBuilder promised = good();
  promised.metadata("lora_adapter_metadata", R"({"transformer.use_dora": true})");
  EXPECT_THAT(refusal(promised), HasSubstr("no DoRA magnitudes"));
}

TEST_F(RefuseAdapter, ForControlImagesUnlessTheModelTakesThem) {
  AdapterFileBuilder builder;
  builder.pair("img_in", 2, 16, 16).random("double_blocks.0.img_attn.norm.query_norm.scale", {8}, "g");
  EXPECT_THAT(refusal(builder, ErrorCode::unsupported),
              AllOf(HasSubstr("control images"), HasSubstr("takes 16 channels, this model's 8")));
}

TEST_F(RefuseAdapter, WithoutLoraTensors) {
  AdapterFileBuilder none;
  EXPECT_THAT(refusal(none), HasSubstr("no tensors"));
  AdapterFileBuilder checkpoint;
  checkpoint.add("transformer_blocks.0.attn.to_q.weight", {1, 1}, {1});
  EXPECT_THAT(refusal(checkpoint), AllOf(HasSubstr("not a LoRA"), HasSubstr("model weights")));
  AdapterFileBuilder clip;
  clip.add("text_model.embeddings.position_embedding.weight", {1, 1}, {1});
  EXPECT_THAT(refusal(clip), HasSubstr("text encoder weights"));
  AdapterFileBuilder embedding;
  embedding.add("emb_params", {1, 4}, {1, 2, 3, 4});
  EXPECT_THAT(refusal(embedding), HasSubstr("textual inversion"));
  AdapterFileBuilder flux_embedding;
  flux_embedding.add("clip_l", {1, 4}, {1, 2, 3, 4}).add("t5xxl", {1, 2}, {1, 2});
  EXPECT_THAT(refusal(flux_embedding), HasSubstr("textual inversion"));
  AdapterFileBuilder norms;
  norms.add("double_blocks.0.img_attn.norm.query_norm.scale", {8}, std::vector<float>(8, 1));
  EXPECT_THAT(refusal(norms), HasSubstr("model weights"));
  AdapterFileBuilder image;
  image.add("double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight", {1, 1}, {1});
  EXPECT_THAT(refusal(image), HasSubstr("IP-Adapter"));
  AdapterFileBuilder other;
  other.add("strange\nkey", {1}, {1});
  EXPECT_THAT(refusal(other), AllOf(HasSubstr("none of its 1 keys"), HasSubstr("'strange\\x0akey'")));
  AdapterFileBuilder alphas;
  alphas.alpha(kQ, 1);
  EXPECT_THAT(refusal(alphas), HasSubstr("not a LoRA"));
}

TEST_F(RefuseAdapter, ThatIsNoSafetensorsFile) {
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { read_adapter(folder_ / "none.safetensors", model_.target); }),
              HasSubstr("none.safetensors"));
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { read_adapter(folder_.path(), model_.target); }), HasSubstr("folder"));
  const auto refusal_of = [&](const std::string& bytes) {
    const auto path = folder_.file("other.safetensors", bytes);
    return error_of(ErrorCode::bad_file, [&] { read_adapter(path, model_.target); });
  };
  EXPECT_THAT(refusal_of("<!DOCTYPE html><html></html>"), AllOf(HasSubstr("other.safetensors"), HasSubstr("web page")));
  EXPECT_THAT(refusal_of("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), HasSubstr("git-LFS"));
  EXPECT_THAT(refusal_of(std::string("PK\x03\x04", 4) + std::string(60, 'x')), HasSubstr("zip"));
  EXPECT_THAT(refusal_of("\x80\x02}q\x01(X\x04"), HasSubstr("pickle"));
  EXPECT_THAT(refusal_of("GGUF\x03 and more"), HasSubstr("GGUF"));
  EXPECT_THAT(refusal_of(""), HasSubstr("empty"));
  EXPECT_THAT(refusal_of(std::string("\0\0\0\x80\0\0\0\0{}", 10)), HasSubstr("2147483648"));
  EXPECT_THAT(refusal_of(std::string("\x2\0\0\0\0\0\0\0{}", 10)), HasSubstr("no tensors"));
}

TEST_F(RefuseAdapter, WhosePairsDoNotFit) {
  AdapterFileBuilder no_up = good();
  EXPECT_THAT(refusal(no_up.erase(kUp)), AllOf(HasSubstr(kDown), HasSubstr("lora_B"), HasSubstr("missing")));
  AdapterFileBuilder no_down = good();
  EXPECT_THAT(refusal(no_down.erase(kDown)), AllOf(HasSubstr(kUp), HasSubstr("lora_A"), HasSubstr("missing")));
  AdapterFileBuilder ranks;
  ranks.random(kDown, {2, 16}, "A").random(kUp, {16, 3}, "B");
  EXPECT_THAT(refusal(ranks), AllOf(HasSubstr("A (2, 16) and B (16, 3)"), HasSubstr("2 and 3")));
  AdapterFileBuilder vector;
  vector.random(kDown, {16}, "A").random(kUp, {16, 1}, "B");
  EXPECT_THAT(refusal(vector), AllOf(HasSubstr(kDown), HasSubstr("expected a matrix, found shape (16)")));
  AdapterFileBuilder convolution;
  convolution.random(kDown, {2, 16, 3, 3}, "A").random(kUp, {16, 2, 1, 1}, "B");
  EXPECT_THAT(refusal(convolution), HasSubstr("(2, 16, 3, 3)"));
  AdapterFileBuilder empty;
  empty.add(kDown, {0, 16}, {}).add(kUp, {16, 0}, {});
  EXPECT_THAT(refusal(empty), HasSubstr("(0, 16)"));
}

TEST_F(RefuseAdapter, WithValuesThatAreNoNumbers) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(32, 0.5f);
    values[7] = value;
    AdapterFileBuilder down = good(), up = good(), alpha = good(), half(DType::f16);
    EXPECT_THAT(refusal(down.add(kDown, {2, 16}, values)), AllOf(HasSubstr(kDown), HasSubstr("not finite")));
    EXPECT_THAT(refusal(up.add(kUp, {16, 2}, values)),
                AllOf(HasSubstr(kUp), HasSubstr("not finite"), HasSubstr("element 7")));
    EXPECT_THAT(refusal(alpha.add(kQ + ".alpha", {}, {value})),
                AllOf(HasSubstr(kQ + ".alpha"), HasSubstr("not finite")));
    half.pair(kQ, 2, 16, 16).add(kUp, {16, 2}, values);
    EXPECT_THAT(refusal(half), HasSubstr("not finite"));
  }
  // Large files are read on several threads.
  AdapterFileBuilder large;
  for (int i = 0; i < 120; ++i) large.pair(fmt::format("transformer.blobs.{}.x", i), 1, 2, 2);
  for (int i = 0; i < 60; ++i) large.pair(fmt::format("transformer.transformer_blocks.{}.attn.to_q", i), 2, 16, 16);
  std::vector<float> values(32, 0.5f);
  values[31] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refusal(large.add("transformer.transformer_blocks.33.attn.to_q.lora_B.weight", {16, 2}, values)),
              AllOf(HasSubstr("blocks.33.attn.to_q.lora_B"), HasSubstr("inf at element 31")));
  AdapterFileBuilder doubles = good();
  std::vector<std::byte> bytes(32 * sizeof(double));
  const double beyond = 1e300;
  std::memcpy(bytes.data(), &beyond, sizeof(beyond));
  EXPECT_THAT(refusal(doubles.add_raw(kDown, DType::f64, {2, 16}, bytes)), HasSubstr("not finite"));
}

TEST_F(RefuseAdapter, WithOddAlphaOrDtype) {
  AdapterFileBuilder vector = good(), boolean = good(), integers = good();
  EXPECT_THAT(refusal(vector.add(kQ + ".alpha", {2}, {1, 1})), AllOf(HasSubstr("one number"), HasSubstr("(2)")));
  boolean.add_raw(kQ + ".alpha", DType::boolean, {}, {std::byte{1}});
  EXPECT_THAT(refusal(boolean), HasSubstr("bool"));
  integers.add_raw(kDown, DType::i8, {2, 16}, std::vector<std::byte>(32));
  EXPECT_THAT(refusal(integers), AllOf(HasSubstr(kDown), HasSubstr("floating"), HasSubstr("i8")));
}

TEST_F(RefuseAdapter, ThatTargetsTheSameRowsTwice) {
  AdapterFileBuilder spelled_twice = good();
  spelled_twice.random("transformer_blocks.0.attn.to_q.lora_down.weight", {2, 16}, "x");
  EXPECT_THAT(refusal(spelled_twice), AllOf(HasSubstr("same part of one module"), HasSubstr(kDown)));
  AdapterFileBuilder fused = good();
  EXPECT_THAT(refusal(fused.pair("double_blocks.0.img_attn.qkv", 2, 16, 48)),
              AllOf(HasSubstr("same rows of double_blocks.0.img_attn.qkv"), HasSubstr(kDown)));
  AdapterFileBuilder kohya = good();
  EXPECT_THAT(refusal(kohya.pair("lora_unet_double_blocks_0_img_attn_qkv", 2, 16, 48)), HasSubstr("same rows"));
  AdapterFileBuilder whole = good();
  EXPECT_THAT(refusal(whole.random(kQ + ".diff", {16, 16}, "d")), HasSubstr("both change the weight"));
  AdapterFileBuilder biases = good();
  biases.random(kQ + ".lora_B.bias", {16}, "b").random(kQ + ".diff_b", {16}, "b");
  EXPECT_THAT(refusal(biases), HasSubstr("change the bias"));
  AdapterFileBuilder orders;
  orders.random("norm_out.linear.lora_A.weight", {1, 16}, "A");
  orders.random("final_layer.adaLN_modulation.1.lora_B.weight", {32, 1}, "B");
  EXPECT_THAT(refusal(orders), HasSubstr("another order"));
  AdapterFileBuilder scales = good();
  EXPECT_THAT(refusal(scales.alpha(kQ, 1).add(kQ + ".scale", {}, {1})), HasSubstr("both .alpha and .scale"));
  AdapterFileBuilder text = good();
  text.pair("text_encoder.text_model.encoder.layers.0.mlp.fc1", 2, 10, 14);
  EXPECT_THAT(refusal(text.pair("text_encoder.encoder.layers.0.mlp.fc1", 2, 10, 14, "x")),
              HasSubstr("same part of one module"));
}

TEST_F(RefuseAdapter, WithMetadataThatContradictIt) {
  AdapterFileBuilder json = good(), rank = good();
  EXPECT_THAT(refusal(json.metadata("lora_adapter_metadata", "{")), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal(rank.metadata("lora_adapter_metadata", R"({"r": 4, "lora_alpha": 4})")), HasSubstr("rank 4"));
}

// Whatever happens to the bytes, reading ends in an adapter or in an Error.
TEST_F(RefuseAdapter, SurvivesDamagedFiles) {
  AdapterFileBuilder builder = good();
  builder.alpha(kQ, 1).pair("text_encoder.text_model.encoder.layers.0.mlp.fc1", 2, 10, 14);
  builder.metadata(
      "lora_adapter_metadata",
      R"({"transformer.r": 2, "transformer.lora_alpha": 2, "transformer.alpha_pattern": {"^a.*(b|c)[d-e]+": 1}})");
  const std::string whole = fx::test::read_all(builder.write(folder_ / "whole.safetensors"));
  Rng rng(5);
  int errors = 0;
  for (int i = 0; i < 600; ++i) {
    std::string damaged = whole;
    if (i % 3 == 0) {
      damaged.resize(static_cast<size_t>(rng.below(static_cast<int64_t>(whole.size()))));
    } else {  // mostly in the header
      const int64_t limit = i % 3 == 1 ? 1100 : static_cast<int64_t>(whole.size());
      for (int64_t flips = 1 + rng.below(3); flips > 0; --flips) {
        damaged[static_cast<size_t>(rng.below(limit))] ^= static_cast<char>(1 << rng.below(8));
      }
    }
    const auto path = folder_.file("damaged.safetensors", damaged);
    try {
      const Adapter adapter = read_adapter(path, model_.target);
      EXPECT_FALSE(adapter.patches.empty());
    } catch (const Error&) { ++errors; }
  }
  EXPECT_GT(errors, 250);
}

}  // namespace
}  // namespace fx::test
