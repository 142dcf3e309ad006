#include "cli_fixture.h"

#include <algorithm>

#include "io/safetensors.h"

namespace fx::test {

namespace fs = std::filesystem;

Tensors read_tensors(const fs::path& file) {
  Tensors tensors;
  const auto source = open_safetensors(file);
  for (const TensorInfo& info : source->tensors()) {
    if (!is_floating(info.dtype)) continue;
    HostTensor tensor{info.name, info.shape, std::vector<float>(static_cast<size_t>(info.shape.count()))};
    convert_to_f32(info.dtype, source->bytes(info).data(), tensor.values.data(), tensor.values.size());
    tensors.emplace(info.name, std::move(tensor));
  }
  return tensors;
}

void write_tensors(const fs::path& file, const Tensors& tensors) {
  std::map<std::string, Tensor> views;
  for (const auto& [name, tensor] : tensors) {
    views.emplace(name, Tensor(const_cast<float*>(tensor.values.data()), DType::f32, tensor.shape));
  }
  write_safetensors(file, views);
}

void write_raw(const fs::path& file, const std::string& header, const std::string& data) {
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(header.size() >> (8 * i) & 0xff);
  std::ofstream(file, std::ios::binary) << length << header << data;
}

namespace {
size_t header_bytes(const std::string& contents) {
  size_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(contents[static_cast<size_t>(i)]);
  return length;
}
}  // namespace

nlohmann::json header_of(const fs::path& file) {
  const std::string contents = read_all(file);
  return nlohmann::json::parse(contents.substr(8, header_bytes(contents)));
}

void replace_header(const fs::path& file, const nlohmann::json& header) {
  const std::string contents = read_all(file);
  write_raw(file, header.dump(), contents.substr(8 + header_bytes(contents)));
}

Arguments CliTest::generate_with(const fs::path& model, const Arguments& more) const {
  Arguments all = {"generate", "--model", model.string()};
  const std::vector<std::pair<std::string, std::string>> usual = {{"--prompt", "A red star, 35mm"},
                                                                  {"--max-sequence-length", "24"},
                                                                  {"--width", "40"},
                                                                  {"--height", "40"},
                                                                  {"--steps", "2"},
                                                                  {"--seed", "7"},
                                                                  {"--out", path("out.png")}};
  for (const auto& [option, value] : usual) {
    if (std::ranges::find(more, option) == more.end()) all.insert(all.end(), {option, value});
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

fs::path CliTest::model_copy() const {
  const fs::path copy = temp_ / "model";
  fs::copy(model_, copy, fs::copy_options::recursive);
  return copy;
}

void CliTest::expect_failure(int status, const Arguments& arguments, const std::vector<std::string>& words,
                             const CommandOptions& options) const {
  auto before = temp_.names();
  const CommandResult result = run_fluxswap(arguments, options);
  SCOPED_TRACE(result.err);
  EXPECT_EQ(result.status, status);
  EXPECT_EQ(result.error_lines(), 1u);
  EXPECT_THAT(result.err, ::testing::StartsWith("fluxswap: error: "));
  for (const std::string& word : words) EXPECT_THAT(result.err, ::testing::HasSubstr(word));
  EXPECT_THAT(temp_.names(), ::testing::UnorderedElementsAreArray(before));
}

std::string CliTest::expect_success(const Arguments& arguments, const CommandOptions& options) const {
  const CommandResult result = run_fluxswap(arguments, options);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.out;
}

}  // namespace fx::test
