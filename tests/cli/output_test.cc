// What generate leaves behind: files, reports, and nothing after a failure or an interruption.
#include <signal.h>

#include <chrono>

#include "cli_fixture.h"
#include "io/png.h"
#include "pipeline/model.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class OutputTest : public CliTest {};

TEST_F(OutputTest, PictureWithParameters) {
  const std::string out = expect_success(generate({"--lora", lora_.string() + ":0.5"}));
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  EXPECT_THAT(out, HasSubstr("seed 7, 40x40, 2 steps"));
  const PngFile png = read_png(temp_ / "out.png");
  EXPECT_EQ(png.image.width, 40);
  EXPECT_EQ(png.image.height, 40);
  const std::string& text = png.text.at("parameters");
  EXPECT_THAT(text, ::testing::StartsWith("A red star, 35mm <lora:attention:0.5>\nSteps: 2, Sampler: Euler"));
  EXPECT_THAT(text, HasSubstr("Seed: 7, Size: 40x40, Model hash: " + model_hash(model_) + ", Model: model"));
  EXPECT_THAT(text, HasSubstr("Lora hashes: \"attention: "));
  EXPECT_THAT(temp_.names(), ::testing::ElementsAre("out.png"));
}

TEST_F(OutputTest, SameCommandSameBytes) {
  expect_success(generate());
  expect_success(generate({"--out", path("again.png")}));
  EXPECT_EQ(read_all(temp_ / "out.png"), read_all(temp_ / "again.png"));
  expect_success(generate({"--seed", "8", "--out", path("other.png")}));
  EXPECT_NE(read_all(temp_ / "out.png"), read_all(temp_ / "other.png"));
}

TEST_F(OutputTest, JsonIsOneObject) {
  const auto json = nlohmann::json::parse(expect_success(generate({"--json", "--lora", lora_.string()})));
  EXPECT_EQ(json.at("seed"), 7);
  EXPECT_EQ(json.at("width"), 40);
  EXPECT_EQ(json.at("height"), 40);
  EXPECT_EQ(json.at("steps"), 2);
  EXPECT_EQ(json.at("graph_captures"), 0);
  EXPECT_EQ(json.at("output"), path("out.png"));
  EXPECT_EQ(json.at("adapters").at(0).at("scale"), 1.0);
  EXPECT_GT(json.at("adapters").at(0).at("matched"), 0);
  EXPECT_GT(json.at("peak_memory").at("runtime_bytes"), 1e5);
  EXPECT_GT(json.at("peak_memory").at("process_bytes"), json.at("peak_memory").at("runtime_bytes"));
  for (const char* stage : {"load", "encode", "prepare", "denoise", "decode", "total"}) {
    EXPECT_GT(json.at("timings").at(std::string(stage) + "_seconds"), 0.0) << stage;
  }
}

TEST_F(OutputTest, ScalesArePrintedAsTheyWereGiven) {
  const auto json = nlohmann::json::parse(expect_success(generate({"--json", "--lora", lora_.string() + ":0.8"})));
  EXPECT_EQ(json.at("adapters").at(0).at("scale").dump(), "0.8");
}

TEST_F(OutputTest, RandomSeedIsTold) {
  Arguments arguments = generate({"--json"});
  arguments.erase(std::ranges::find(arguments, "--seed"), std::ranges::find(arguments, "--seed") + 2);
  const auto a = nlohmann::json::parse(expect_success(arguments)), b = nlohmann::json::parse(expect_success(arguments));
  EXPECT_NE(a.at("seed"), b.at("seed"));
}

TEST_F(OutputTest, CountNumbersFilesAndSeeds) {
  expect_success(generate({"--count", "3", "--save-latents", path("latents.safetensors")}));
  EXPECT_THAT(temp_.names(),
              ::testing::UnorderedElementsAre("out-0001.png", "out-0002.png", "out-0003.png", "latents.safetensors"));
  const HostTensor latents = read_tensors(temp_ / "latents.safetensors").at("latents");
  EXPECT_EQ(latents.shape, Shape({3, 25, 64}));
  expect_success(generate({"--seed", "9", "--out", path("third.png")}));
  EXPECT_EQ(read_png(temp_ / "out-0003.png").image.rgb, read_png(temp_ / "third.png").image.rgb);
}

TEST_F(OutputTest, DefaultNamesAreNeverTakenTwice) {
  Arguments arguments = generate();
  arguments.erase(std::ranges::find(arguments, "--out"), std::ranges::find(arguments, "--out") + 2);
  expect_success(arguments, {.folder = temp_.path()});
  expect_success(arguments, {.folder = temp_.path()});
  EXPECT_THAT(temp_.names(), ::testing::UnorderedElementsAre("fluxswap-7.png", "fluxswap-7-2.png"));
}

TEST_F(OutputTest, NothingIsSaidInAPipeButTheResult) { EXPECT_EQ(run_fluxswap(generate()).err, ""); }

// Before any work: the model is not even looked for.
TEST_F(OutputTest, UnwritableOutputs) {
  temp_.file("file", "");
  fs::create_symlink("loop", temp_ / "loop");
  for (const std::string option : {"--out", "--save-latents", "--taps"}) {
    expect_failure(1, generate({option, path("missing/out.png")}), {"missing/out.png", "folder does not exist"});
    expect_failure(1, generate({option, path("file/out.png")}), {"file/out.png"});
    expect_failure(1, generate({option, temp_.path().string()}), {"it is a folder"});
    expect_failure(1, generate({option, "/proc/out.png"}), {"/proc/out.png"});
    expect_failure(1, generate({option, path("loop")}), {"loop", "symbolic links"});
  }
}

TEST_F(OutputTest, FullDisk) {
  expect_failure(1, generate({"--out", "/dev/full"}), {"/dev/full", "No space left"});
  expect_failure(1, generate(), {"out.png", "File too large"}, {.max_file_size = 1000});
  // A picture that was there before stays as it was.
  temp_.file("out.png", "old");
  expect_failure(1, generate(), {"out.png", "File too large"}, {.max_file_size = 1000});
  EXPECT_EQ(read_all(temp_ / "out.png"), "old");
}

TEST_F(OutputTest, StandardOutputFullOrClosed) {
  for (const std::string stdout_file : {"/dev/full", "-"}) {
    const CommandResult result = run_fluxswap(generate({"--json"}), {.stdout_file = stdout_file});
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.error_lines(), 1u) << result.err;
    EXPECT_THAT(result.err, HasSubstr("standard output"));
    EXPECT_EQ(read_png(temp_ / "out.png").image.width, 40);  // the report is lost, not the picture
  }
}

// 1000 steps of the reference back-end take many seconds.
TEST_F(OutputTest, InterruptedInTheMiddle) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const auto start = std::chrono::steady_clock::now();
    const auto later = [=] { return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(400); };
    expect_failure(130, generate({"--reference", "--steps", "1000", "--width", "80", "--height", "80"}),
                   {"interrupted"}, {.signal = signal, .when = later});
  }
}

TEST_F(OutputTest, IgnoredSignalsStayIgnored) {
  for (const int signal : {SIGINT, SIGHUP}) {
    const CommandResult result = run_fluxswap(
        generate({"--count", "6", "--steps", "4"}),
        {.signal = signal, .ignore_signal = true, .when = [&] { return fs::exists(temp_ / "out-0001.png"); }});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_TRUE(fs::remove(temp_ / "out-0001.png"));
  }
}

TEST_F(OutputTest, InterruptedBetweenPicturesKeepsWholeOnes) {
  const CommandResult result = run_fluxswap(
      generate({"--count", "9999"}), {.signal = SIGINT, .when = [&] { return fs::exists(temp_ / "out-0003.png"); }});
  EXPECT_EQ(result.status, 130);
  EXPECT_THAT(result.err, "fluxswap: error: interrupted\n");
  for (const std::string& name : temp_.names()) EXPECT_EQ(read_png(temp_ / name).image.width, 40) << name;
}

}  // namespace
}  // namespace fx::test
