// Model folders that are wrong: exit status 1, one line that says where.
#include <cstdlib>

#include "cli_fixture.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;

class BadModelTest : public CliTest {
 protected:
  fs::path copy_ = model_copy();
  fs::path weights_ = copy_ / transformer_;

  void expect_refused(const std::vector<std::string>& words) const { expect_failure(1, generate_with(copy_), words); }
};

TEST_F(BadModelTest, MissingFoldersAndFiles) {
  expect_failure(1, generate_with(temp_ / "nowhere"), {"nowhere", "no such folder"});
  fs::remove(weights_);
  expect_refused({"transformer", "diffusion_pytorch_model"});
  fs::remove_all(copy_ / "tokenizer_2");
  expect_refused({"tokenizer_2"});
  fs::remove(copy_ / "vae/config.json");
  expect_refused({"vae/config.json"});
}

TEST_F(BadModelTest, TruncatedFile) {
  fs::resize_file(weights_, fs::file_size(weights_) - 1);
  expect_refused({"diffusion_pytorch_model.safetensors", "bytes"});
  fs::resize_file(weights_, 7);
  expect_refused({"diffusion_pytorch_model.safetensors"});
  fs::resize_file(weights_, 0);
  expect_refused({"diffusion_pytorch_model.safetensors", "empty"});
}

TEST_F(BadModelTest, HeaderBeyondTheFile) {
  std::string contents = read_all(weights_);
  contents[5] = '\x7f';
  temp_.file("model/transformer/diffusion_pytorch_model.safetensors", contents);
  expect_refused({"diffusion_pytorch_model.safetensors", "header"});
}

TEST_F(BadModelTest, OverlappingOutOfRangeAndUnknown) {
  const nlohmann::json good = header_of(weights_);
  const std::string name = "proj_out.weight";
  nlohmann::json header = good;
  for (auto& offset : header[name]["data_offsets"]) offset = offset.get<int64_t>() - 4;
  replace_header(weights_, header);
  expect_refused({"diffusion_pytorch_model.safetensors"});
  header = good;
  header[name]["data_offsets"][1] = int64_t{1} << 40;
  replace_header(weights_, header);
  expect_refused({name});
  header = good;
  header[name]["dtype"] = "F12";
  replace_header(weights_, header);
  expect_refused({name, "F12"});
}

TEST_F(BadModelTest, WrongMissingAndUnexpectedTensorsAreListedTogether) {
  Tensors tensors = read_tensors(weights_);
  tensors.erase("proj_out.bias");
  tensors.erase("transformer_blocks.0.attn.norm_q.weight");
  tensors["stray.weight"] = {"stray.weight", {2}, {0, 0}};
  HostTensor& wrong = tensors.at("x_embedder.bias");
  wrong.values.resize(wrong.values.size() - 1);
  wrong.shape[0] -= 1;
  write_tensors(weights_, tensors);
  expect_refused({"4 problems", "missing final_layer.linear.bias",
                  "missing double_blocks.0.img_attn.norm.query_norm.scale", "unexpected stray.weight",
                  "x_embedder.bias: expected (64), found (63)"});
}

TEST_F(BadModelTest, ConfigsWeCannotRun) {
  const fs::path config = copy_ / "transformer/config.json";
  auto json = nlohmann::json::parse(read_all(config));
  json["patch_size"] = 2;
  temp_.file("model/transformer/config.json", json.dump());
  expect_refused({"config.json", "patch_size"});
  temp_.file("model/transformer/config.json", "{\n  \"num_layers\": 2,\n}");
  expect_refused({"config.json"});
}

TEST_F(BadModelTest, NotEnoughMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer needs all the address space there is";
#else
  auto config = nlohmann::json::parse(read_all(copy_ / "text_encoder_2/config.json"));
  config["vocab_size"] = 16'000'000;
  temp_.file("model/text_encoder_2/config.json", config.dump());
  expect_failure(1, generate_with(copy_), {"memory"}, {.max_memory = 500 << 20});
#endif
}

TEST_F(BadModelTest, TokenizerOfAnotherModel) {
  auto json = nlohmann::json::parse(read_all(copy_ / "tokenizer/vocab.json"));
  json["another token"] = 70000;
  temp_.file("model/tokenizer/vocab.json", json.dump());
  expect_refused({"model/tokenizer: ", "ids up to 70000", "vocab_size", "text_encoder/config.json"});
}

// Each thread takes some megabytes of address space for its stack.
TEST_F(BadModelTest, NotEnoughThreads) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer needs all the address space there is";
#else
  expect_failure(1, generate({"--threads", "1024"}), {"cannot start 1024 threads", "take fewer"},
                 {.max_memory = 500 << 20});
#endif
}

TEST_F(BadModelTest, DevicesAndPrecisionsOfOtherBuilds) {
  setenv("CUDA_VISIBLE_DEVICES", "", 1);  // a build with CUDA finds no device then
  expect_failure(1, generate({"--device", "cuda"}), {"--device cuda", "no CUDA", "expected cpu or auto"});
  expect_failure(1, generate({"--precision", "bf16"}), {"bf16", "expected f32"});
  expect_failure(1, generate({"--precision", "fp8"}), {"fp8", "expected f32"});
}

TEST_F(BadModelTest, PromptsAreUtf8) {
  expect_failure(1, generate({"--prompt", "caf\xe9"}), {"--prompt", "UTF-8"});
  expect_failure(1, {"debug", "tokens", "--model", model_.string(), "--prompt", "\xff"}, {"--prompt", "UTF-8"});
}

}  // namespace
}  // namespace fx::test
