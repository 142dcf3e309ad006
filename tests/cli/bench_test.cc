// bench on the smallest shape: every command's table and report, and the dialogue of --interactive.
#include <cstdio>
#include <fstream>
#include <memory>

#include "cli_fixture.h"

namespace fx::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::MatchesRegex;

class BenchTest : public CliTest {
 protected:
  Arguments bench(const std::string& command, const Arguments& more = {}) const {
    Arguments all = {"bench",   command, "--random-weights",      "--shape", "tiny", "--device", "cpu",
                     "--steps", "2",     "--max-sequence-length", "8"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  nlohmann::json report(const std::string& command, const Arguments& more) const {
    Arguments all = bench(command, more);
    all.emplace_back("--json");
    return nlohmann::json::parse(expect_success(all));
  }
};

TEST_F(BenchTest, ImageHasARowForEachName) {
  const std::string rows = "baseline,fp8-e4m3,fp8-swap,fp8-no-adapter,t5,clip";
  const auto json = report("image", {"--rows", rows, "--images", "2", "--log", path("log")});
  EXPECT_EQ(json.at("command"), "bench image");
  EXPECT_EQ(json.at("backend"), "cpu");
  EXPECT_EQ(json.at("width"), 32);
  std::vector<std::string> names;
  for (const auto& row : json.at("rows")) {
    names.push_back(row.at("name"));
    EXPECT_EQ(row.at("precision"), "f32");
    EXPECT_EQ(row.at("seconds").size(), 2u);
    EXPECT_GT(row.at("seconds_median"), 0.0);
    EXPECT_GT(row.at("peak_bytes"), 0);
  }
  EXPECT_THAT(names, ElementsAre("baseline", "fp8-e4m3", "fp8-swap", "fp8-no-adapter", "t5", "clip"));
  EXPECT_EQ(json.at("rows").at(2).at("wait_seconds").size(), 2u);
  EXPECT_FALSE(json.at("rows").at(0).contains("wait_seconds"));

  std::ifstream log(temp_ / "log");
  std::vector<std::string> logged;
  for (std::string line; std::getline(log, line);) logged.push_back(nlohmann::json::parse(line).at("row").at("name"));
  EXPECT_EQ(logged, names);
}

TEST_F(BenchTest, RowsSayWhatTheDeviceDoes) {
  const auto row = report("image", {"--rows", "fp8-unmerged-small", "--images", "1"}).at("rows").at(0);
  EXPECT_EQ(row.at("precision"), "f32");
  EXPECT_NE(row.at("attention"), "e4m3");
  EXPECT_FALSE(row.at("e4m3_modulation"));
}

TEST_F(BenchTest, TableOfBatches) {
  const std::string out = expect_success(bench("image", {"--rows", "graph", "--images", "1", "--batch", "2"}));
  EXPECT_THAT(out, HasSubstr("bench image: tiny on "));
  EXPECT_THAT(out, HasSubstr("batch 2\nrow "));
  EXPECT_THAT(out, HasSubstr("\ngraph "));
  const auto row = report("image", {"--rows", "graph", "--images", "1", "--batch", "2"}).at("rows").at(0);
  EXPECT_DOUBLE_EQ(row.at("image_seconds"), row.at("seconds_median").get<double>() / 2);
}

TEST_F(BenchTest, SwapsLeaveNoTrace) {
  const auto json = report("swap", {"--swaps", "3"});
  ASSERT_EQ(json.at("rows").size(), 2u);
  for (const auto& row : json.at("rows")) {
    EXPECT_TRUE(row.at("restored"));
    EXPECT_EQ(row.at("captures"), 0);
    EXPECT_EQ(row.at("wait_seconds").size(), 3u);
    EXPECT_EQ(row.at("stage_seconds").size(), 3u);
  }
}

TEST_F(BenchTest, ProfileAccountsForEveryOperation) {
  const auto json = report("transformer", {"--images", "1", "--profile"});
  const auto& profile = json.at("rows").at(0).at("profile");
  int calls = 0;
  double share = 0;
  std::vector<std::string> kinds;
  for (const auto& op : profile.at("operations")) {
    calls += op.at("calls").get<int>();
    share += op.at("share").get<double>();
    const std::string name = op.at("name");
    kinds.push_back(name.substr(0, name.find(' ')));
  }
  EXPECT_NEAR(share, 1.0, 1e-6);
  EXPECT_GT(calls, 30);
  EXPECT_THAT(kinds,
              IsSupersetOf({"linear", "attention", "ln_modulate", "qk_norm_rope", "euler_step", "advance_step"}));
  const std::string out = expect_success(bench("transformer", {"--images", "1", "--profile"}));
  EXPECT_THAT(out, HasSubstr("TFLOP/s"));
  EXPECT_THAT(out, HasSubstr("ceilings:"));
}

TEST_F(BenchTest, LoadOfAFolder) {
  const auto json = nlohmann::json::parse(
      expect_success({"bench", "load", "--model", model_.string(), "--device", "cpu", "--steps", "2", "--json"}));
  const auto& row = json.at("rows").at(0);
  EXPECT_GT(row.at("file_bytes"), 0);
  EXPECT_GT(row.at("bytes_per_second"), 0.0);
  EXPECT_GE(row.at("first_picture_seconds"), row.at("first_step_seconds"));
}

TEST_F(BenchTest, InteractiveAnswersLineByLine) {
  std::ofstream(temp_ / "lines") << "image\nswap\ndance\nimage\nquit\nimage\n";
  std::string command = FLUXSWAP_BINARY;
  for (const std::string& argument : bench("image", {"--rows", "fp8-e4m3", "--interactive"})) command += " " + argument;
  command += " <" + path("lines") + " 2>&1";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::vector<std::string> lines;
  for (char buffer[256]; std::fgets(buffer, sizeof buffer, pipe.get());) lines.emplace_back(buffer);
  const std::string seconds = " [0-9]+[.][0-9]+\n";
  EXPECT_THAT(lines, ElementsAre("ready fp8-e4m3\n", MatchesRegex("image" + seconds), MatchesRegex("swap" + seconds),
                                 HasSubstr("error expected image, swap or quit, found 'dance'"),
                                 MatchesRegex("image" + seconds)));
}

TEST_F(BenchTest, WrongCommandLines) {
  expect_failure(2, {"bench"}, {"subcommand"});
  expect_failure(2, {"bench", "dance"}, {"unknown command 'dance'", "image, transformer, swap, load"});
  expect_failure(2, {"bench", "image"}, {"either --model DIR or --random-weights"});
  expect_failure(2, bench("image", {"--model", model_.string()}), {"either --model DIR or --random-weights"});
  expect_failure(2, {"bench", "image", "--model", model_.string(), "--shape", "tiny"}, {"--shape"});
  expect_failure(2, {"bench", "image", "--random-weights", "--shape", "huge"},
                 {"--shape", "flux-dev|flux-schnell|tiny"});
  expect_failure(2, bench("image", {"--rows", "fp8,fast"}), {"--rows", "baseline,graph", "found 'fast'"});
  expect_failure(2, bench("transformer", {"--rows", "t5"}), {"--rows", "found 't5'"});
  expect_failure(2, bench("image", {"--batch", "0"}), {"--batch", "1 to 16"});
  expect_failure(2, bench("image", {"--width", "33"}), {"width 33"});
  expect_failure(2, bench("image", {"--rows", "fp8,graph", "--interactive"}), {"--interactive", "one row"});
  expect_failure(2, bench("swap", {"--swaps", "none"}), {"--swaps", "none"});
  expect_failure(1, bench("load", {"--log", path("none/log")}), {"none"});
  expect_failure(1, bench("image", {"--precision", "fp8"}), {"--precision fp8", "expected f32 or auto"});
}

}  // namespace
}  // namespace fx::test
