// lora inspect and lora convert.
#include "cli_fixture.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LoraFileTest : public CliTest {
 protected:
  nlohmann::json inspect(const std::string& file, bool model = true) const {
    Arguments all = {"lora", "inspect", file, "--json"};
    if (model) all.insert(all.end(), {"--model", model_.string()});
    return nlohmann::json::parse(expect_success(all));
  }
  Tensors convert(const std::string& file, const fs::path& model, const Arguments& more = {}) const {
    Arguments all = {"lora", "convert", file, path("out.safetensors"), "--model", model.string()};
    all.insert(all.end(), more.begin(), more.end());
    expect_success(all);
    return read_tensors(temp_ / "out.safetensors");
  }
  // Nothing but the transformer.
  fs::path bare_model(const fs::path& model) const {
    fs::create_directories(temp_ / "bare");
    fs::copy(model / "transformer", temp_ / "bare/transformer");
    return temp_ / "bare";
  }
  // LoKr with both factors whole: kron(w1, w2) on a layer.
  std::string lokr(const std::string& module, int64_t out, int64_t in) const {
    HostTensor w1{"w1", {2, 1}, {1, -0.5f}}, w2{"w2", {out / 2, in}, {}};
    w2.values.assign(static_cast<size_t>(out / 2 * in), 0.25f);
    write_tensors(temp_ / "lokr.safetensors", {{module + ".lokr_w1", w1}, {module + ".lokr_w2", w2}});
    return path("lokr.safetensors");
  }
  static bool same(const Tensors& a, const Tensors& b) {
    return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
      return x.first == y.first && x.second.shape == y.second.shape && x.second.values == y.second.values;
    });
  }
  // An adapter of all three networks, and its model.
  const fs::path odd_ = kGolden / "tiny-odd/model";
  const std::string text_ = (kGolden / "tiny-odd/loras/text.safetensors").string();
  const std::string all_ = (kGolden / "tiny-schnell/loras/all-linears.safetensors").string();
};

TEST_F(LoraFileTest, InspectTellsEverything) {
  const auto json = inspect(all_);
  EXPECT_EQ(json.at("autov2"), json.at("sha256").get<std::string>().substr(0, 10));
  EXPECT_EQ(json.at("autov3").get<std::string>().size(), 12u);
  EXPECT_EQ(json.at("family"), "FLUX.1");
  EXPECT_EQ(json.at("counts").at("matched"), json.at("matched").size());
  EXPECT_GT(json.at("norms").at("components").at("transformer").at("relative").get<double>(), 0);
  size_t modules = 0;
  for (const auto& [rank, count] : json.at("ranks").items()) modules += count.get<size_t>();
  size_t listed = 0;
  for (const auto& [component, count] : json.at("components").items()) listed += count.get<size_t>();
  EXPECT_EQ(modules, listed);
  const auto alone = inspect(all_, false);
  EXPECT_EQ(alone.at("counts"), json.at("counts"));
  EXPECT_EQ(alone.at("matched").size(), json.at("matched").size());
  EXPECT_FALSE(alone.at("scales").empty());
  const std::string text = expect_success({"lora", "inspect", all_, "--model", model_.string()});
  for (const char* part : {"base model     FLUX.1", "AutoV3", "rank", "alpha", "delta norm", "most in", "matched"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST_F(LoraFileTest, StrictRefusesWhatMatchesInPart) {
  Tensors tensors = read_tensors(all_);
  tensors["transformer.stray.lora_A.weight"] = {"stray", {1, 1}, {1}};
  write_tensors(temp_ / "part.safetensors", tensors);
  const Arguments inspect = {"lora", "inspect", path("part.safetensors")};
  const Arguments convert = {"lora", "convert", path("part.safetensors"), path("x"), "--model", model_.string()};
  for (Arguments arguments : {inspect, convert}) {
    arguments.push_back("--strict");
    expect_failure(1, arguments, {"1 of its keys matches nothing", "transformer.stray.lora_A.weight"});
  }
  const CommandResult lenient = run_fluxswap(convert);
  EXPECT_EQ(lenient.status, 0);
  EXPECT_THAT(lenient.err, HasSubstr("transformer.stray.lora_A.weight"));
}

TEST_F(LoraFileTest, InspectMeasuresTheDelta) {
  const Tensors weights = read_tensors(model_ / transformer_);
  const std::string name = "transformer_blocks.0.attn.to_k";
  const HostTensor& weight = weights.at(name + ".weight");
  HostTensor a{"a", {1, weight.shape[1]}, std::vector<float>(static_cast<size_t>(weight.shape[1]), 0.5f)};
  HostTensor b{"b", {weight.shape[0], 1}, std::vector<float>(static_cast<size_t>(weight.shape[0]), 0.25f)};
  write_tensors(temp_ / "one.safetensors",
                {{"transformer." + name + ".lora_A.weight", a}, {"transformer." + name + ".lora_B.weight", b}});
  double squared = 0;
  for (const float value : weight.values) squared += double{value} * value;
  const auto norm = inspect(path("one.safetensors")).at("norms").at("parameters").at(0);
  EXPECT_EQ(norm.at("parameter"), "double_blocks.0.img_attn.qkv.weight");
  EXPECT_NEAR(norm.at("weight").get<double>(), std::sqrt(squared), 1e-6 * std::sqrt(squared));
  const double delta = 0.125 * std::sqrt(static_cast<double>(weight.values.size()));
  EXPECT_NEAR(norm.at("delta").get<double>(), delta, 1e-6 * delta);
  // The same difference as LoKr costs memory.
  const auto dense = inspect(lokr("transformer." + name, weight.shape[0], weight.shape[1])).at("dense").at("LoKr");
  EXPECT_EQ(dense.at("parameters"), 1);
  EXPECT_GE(dense.at("bytes").get<size_t>(), 4 * weight.values.size());
}

TEST_F(LoraFileTest, ABareTransformerIsEnough) {
  const fs::path bare = bare_model(odd_);
  const Tensors whole = convert(text_, odd_);
  EXPECT_TRUE(whole.contains("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight"));
  EXPECT_TRUE(same(convert(text_, bare), whole));
  EXPECT_TRUE(same(convert(text_, bare, {"--dense"}), convert(text_, odd_, {"--dense"})));
  EXPECT_EQ(nlohmann::json::parse(expect_success({"lora", "inspect", text_, "--model", bare.string(), "--json"}))
                .at("unmatched")
                .size(),
            0u);
}

TEST_F(LoraFileTest, DifferencesAreProducts) {
  const Tensors pairs = convert(text_, odd_), dense = convert(text_, odd_, {"--dense"});
  EXPECT_EQ(2 * dense.size(), pairs.size());
  for (const auto& [name, delta] : dense) {
    const std::string module = name.substr(0, name.size() - std::string(".weight").size());
    const std::string full = module.starts_with("text_encoder") ? module : "transformer." + module;
    const HostTensor &a = pairs.at(full + ".lora_A.weight"), &b = pairs.at(full + ".lora_B.weight");
    ASSERT_EQ(delta.shape, (Shape{b.shape[0], a.shape[1]})) << name;
    for (int64_t row = 0; row < delta.shape[0]; ++row) {
      for (int64_t column = 0; column < delta.shape[1]; ++column) {
        double sum = 0;
        for (int64_t r = 0; r < a.shape[0]; ++r) {
          sum += double{b.values[static_cast<size_t>(row * a.shape[0] + r)]} *
                 a.values[static_cast<size_t>(r * a.shape[1] + column)];
        }
        ASSERT_NEAR(delta.values[static_cast<size_t>(row * a.shape[1] + column)], sum, 1e-5) << name;
      }
    }
  }
}

TEST_F(LoraFileTest, WhatIsNotLowRankNeedsDense) {
  const Tensors weights = read_tensors(model_ / transformer_);
  const std::string name = "norm_out.linear";  // diffusers has its halves in the other order than we
  const HostTensor& weight = weights.at(name + ".weight");
  const std::string file = lokr("lycoris_norm_out_linear", weight.shape[0], weight.shape[1]);
  expect_failure(1, {"lora", "convert", file, path("out.safetensors"), "--model", model_.string()},
                 {"LoKr", "--dense"});
  const Tensors dense = convert(file, model_, {"--dense"});
  ASSERT_EQ(dense.size(), 1u);
  const HostTensor& delta = dense.at(name + ".weight");
  EXPECT_EQ(delta.shape, weight.shape);
  EXPECT_EQ(delta.values.front(), 0.25f);
  EXPECT_EQ(delta.values.back(), -0.125f);
  expect_failure(2, {"lora", "convert", file, path("x"), "--model", model_.string(), "--dense", "--dtype", "f16"},
                 {"--dtype"});
}

TEST_F(LoraFileTest, DoraOfATextEncoderNeedsItsWeights) {
  const std::string module = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";
  const int64_t hidden = read_tensors(model_ / "text_encoder/model.safetensors")
                             .at("text_model.encoder.layers.0.self_attn.q_proj.weight")
                             .shape[0];
  const std::vector<float> values(static_cast<size_t>(hidden), 0.5f);
  write_tensors(temp_ / "dora.safetensors", {{module + ".lora_A.weight", {"a", {1, hidden}, values}},
                                             {module + ".lora_B.weight", {"b", {hidden, 1}, values}},
                                             {module + ".lora_magnitude_vector", {"m", {hidden}, values}}});
  const CommandResult bare = run_fluxswap({"lora", "convert", path("dora.safetensors"), path("out.safetensors"),
                                           "--model", bare_model(model_).string(), "--dense"});
  EXPECT_EQ(bare.status, 1);
  EXPECT_THAT(bare.err, HasSubstr("no weights of the text_encoder"));
  EXPECT_FALSE(fs::exists(temp_ / "out.safetensors"));
  const CommandResult whole = run_fluxswap(
      {"lora", "convert", path("dora.safetensors"), path("out.safetensors"), "--model", model_.string(), "--dense"});
  EXPECT_EQ(whole.status, 0) << whole.err;
  const Tensors dense = read_tensors(temp_ / "out.safetensors");
  EXPECT_TRUE(dense.contains(module + ".weight"));
}

}  // namespace
}  // namespace fx::test
