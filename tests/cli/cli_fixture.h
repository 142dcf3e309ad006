// What the tests of the command line share: a tiny model, usual arguments, files that are wrong in one way.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/taps.h"
#include "run_command.h"
#include "support/temp_folder.h"

namespace fx::test {

using Arguments = std::vector<std::string>;
using Tensors = std::map<std::string, HostTensor>;

inline const std::filesystem::path kGolden = std::filesystem::path(FLUXSWAP_SOURCE_DIR) / "tests/data/golden";

// All floating tensors of a file as f32.
Tensors read_tensors(const std::filesystem::path& file);
void write_tensors(const std::filesystem::path& file, const Tensors& tensors);

// A safetensors file of any header and data, right or wrong.
void write_raw(const std::filesystem::path& file, const std::string& header, const std::string& data);
// The JSON header of a good file.
nlohmann::json header_of(const std::filesystem::path& file);
// The same file with another header.
void replace_header(const std::filesystem::path& file, const nlohmann::json& header);

class CliTest : public ::testing::Test {
 protected:
  // tiny-schnell: 40x40 pixels take 25 tokens, and two steps take milliseconds.
  const std::filesystem::path model_ = kGolden / "tiny-schnell/model";
  const std::filesystem::path lora_ = kGolden / "tiny-schnell/loras/attention.safetensors";
  const std::filesystem::path transformer_ = "transformer/diffusion_pytorch_model.safetensors";
  TempFolder temp_;

  std::string path(std::string_view name) const { return (temp_ / name).string(); }

  // generate with a small picture into out.png, and `more`; options given again would be refused.
  Arguments generate(const Arguments& more = {}) const { return generate_with(model_, more); }
  Arguments generate_with(const std::filesystem::path& model, const Arguments& more = {}) const;

  // A copy of the model that a test may damage.
  std::filesystem::path model_copy() const;

  // Runs, and expects this status, one line of error that has `words`, and no new file in the temporary folder.
  void expect_failure(int status, const Arguments& arguments, const std::vector<std::string>& words,
                      const CommandOptions& options = {}) const;
  // Runs, expects success without a word on standard error, and returns the standard output.
  std::string expect_success(const Arguments& arguments, const CommandOptions& options = {}) const;
};

}  // namespace fx::test
