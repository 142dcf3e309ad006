// Adapter files that are wrong, and what inspect and convert say of good ones.
#include <limits>

#include "cli_fixture.h"

namespace fx::test {
namespace {

class AdapterTest : public CliTest {
 protected:
  Tensors tensors_ = read_tensors(lora_);
  const std::string a_ = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight";
  const std::string b_ = "transformer.transformer_blocks.0.attn.to_q.lora_B.weight";

  void expect_refused(const std::vector<std::string>& words) const {
    write_tensors(temp_ / "bad.safetensors", tensors_);
    expect_failure(1, generate({"--lora", path("bad.safetensors")}), words);
    expect_failure(1, {"lora", "inspect", path("bad.safetensors"), "--model", model_.string()}, words);
  }
};

TEST_F(AdapterTest, MissingFile) {
  expect_failure(1, generate({"--lora", path("nowhere.safetensors:0.5")}), {"nowhere.safetensors", "no such file"});
  expect_failure(1, {"lora", "inspect", path("nowhere.safetensors")}, {"nowhere.safetensors"});
}

TEST_F(AdapterTest, NaN) {
  ASSERT_TRUE(tensors_.contains(a_));
  tensors_.at(a_).values[3] = std::numeric_limits<float>::quiet_NaN();
  expect_refused({"bad.safetensors", a_});
}

TEST_F(AdapterTest, RankMismatch) {
  HostTensor& a = tensors_.at(a_);
  a.shape[0] -= 1;
  a.values.resize(static_cast<size_t>(a.shape.count()));
  expect_refused({"bad.safetensors", "transformer_blocks.0.attn.to_q", "rank"});
}

TEST_F(AdapterTest, OtherFamily) {
  Tensors other;
  for (const auto& [name, tensor] : tensors_) other.emplace("unet.down_blocks." + name, tensor);
  tensors_ = other;
  expect_refused({"bad.safetensors", "Stable Diffusion"});
}

TEST_F(AdapterTest, OtherSizes) {
  HostTensor& a = tensors_.at(a_);
  a.shape[1] += 1;
  a.values.resize(static_cast<size_t>(a.shape.count()));
  expect_refused({"bad.safetensors", "to_q"});
}

TEST_F(AdapterTest, NotAnAdapter) {
  const std::string page = path("page.safetensors");
  temp_.file("page.safetensors", "<!DOCTYPE html><html></html>");
  expect_failure(1, {"lora", "inspect", page}, {"page.safetensors"});
  expect_failure(1, {"lora", "inspect", (model_ / transformer_).string()}, {"diffusion_pytorch_model.safetensors"});
}

TEST_F(AdapterTest, KeysWithoutAPlaceAreAWarning) {
  HostTensor a = tensors_.at(a_), b = tensors_.at(b_);
  tensors_.emplace("transformer.stray.lora_A.weight", a);
  tensors_.emplace("transformer.stray.lora_B.weight", b);
  write_tensors(temp_ / "more.safetensors", tensors_);
  const CommandResult result = run_fluxswap(generate({"--lora", path("more.safetensors"), "--json"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.error_lines(), 1u);
  EXPECT_THAT(result.err, ::testing::StartsWith("fluxswap: warning: "));
  EXPECT_THAT(result.err, ::testing::HasSubstr("transformer.stray"));
  const auto adapter = nlohmann::json::parse(result.out).at("adapters").at(0);
  EXPECT_EQ(adapter.at("matched"), tensors_.size() - 2);
  EXPECT_EQ(adapter.at("unmatched"), 2);
}

TEST_F(AdapterTest, Inspect) {
  const auto json =
      nlohmann::json::parse(expect_success({"lora", "inspect", lora_.string(), "--model", model_.string(), "--json"}));
  EXPECT_EQ(json.at("format"), "PEFT/diffusers");
  EXPECT_EQ(json.at("matched").size(), tensors_.size());
  EXPECT_EQ(json.at("unmatched").size(), 0u);
  EXPECT_EQ(json.at("autov2"), json.at("sha256").get<std::string>().substr(0, 10));
  EXPECT_GT(json.at("components").at("transformer").get<int>(), 0);
  EXPECT_THAT(expect_success({"lora", "inspect", lora_.string()}), ::testing::HasSubstr("AutoV2"));
}

TEST_F(AdapterTest, ConvertedFileMakesTheSamePicture) {
  const std::string converted = path("converted.safetensors");
  expect_success({"lora", "convert", lora_.string(), converted, "--model", model_.string()});
  expect_success(generate({"--lora", lora_.string(), "--save-latents", path("a.safetensors")}));
  expect_success(generate({"--lora", converted, "--save-latents", path("b.safetensors")}));
  const auto a = read_tensors(temp_ / "a.safetensors").at("latents"),
             b = read_tensors(temp_ / "b.safetensors").at("latents");
  ASSERT_EQ(a.values.size(), b.values.size());
  for (size_t i = 0; i < a.values.size(); ++i) ASSERT_NEAR(a.values[i], b.values[i], 1e-5);
  expect_failure(1, {"lora", "convert", lora_.string(), path("no/where.safetensors"), "--model", model_.string()},
                 {"folder"});
}

}  // namespace
}  // namespace fx::test
