// Command lines that are wrong: exit status 2, one line, nothing done.
#include "cli_fixture.h"

namespace fx::test {
namespace {

class UsageTest : public CliTest {};

TEST_F(UsageTest, UnknownFlagsCommandsAndMissingValues) {
  expect_failure(2, {}, {"--help"});
  expect_failure(2, {"paint"}, {"unknown command 'paint'", "generate, grid"});
  expect_failure(2, {"lora", "merge"}, {"unknown command 'merge'", "inspect, convert"});
  expect_failure(2, generate({"--colour", "red"}), {"--colour"});
  expect_failure(2, {"generate", "--prompt", "x"}, {"--model", "required"});
  expect_failure(2, {"generate", "--model", model_.string()}, {"--prompt is required"});
  expect_failure(2, {"generate", "--model", model_.string(), "--prompt"}, {"--prompt"});
  expect_failure(2, {"generate", "--model", model_.string(), "--prompt", "a", "--prompt", "b"}, {"--prompt"});
  expect_failure(2, generate({"stray"}), {"unexpected argument: stray; see fluxswap generate --help"});
  expect_failure(2, generate({"--step", "1"}), {"unexpected arguments: --step 1; see fluxswap generate --help"});
  expect_failure(2, {"debug", "noise", "--seed", "1", "--shape", "1", "--out", path("n"), "x"},
                 {"x; see fluxswap debug noise --help"});
  for (const char* command : {"generate", "grid"}) {
    expect_failure(2, {command, "--model", model_.string(), "--prompt", "--out", path("s.png")},
                   {"--prompt: expected a value, found the option --out", "--prompt=--out"});
  }
  expect_failure(2, {"lora"}, {"subcommand"});
  expect_failure(2, {"lora", "inspect"}, {"FILE"});
  expect_failure(2, {"grid", "--model", model_.string(), "--out", path("s.png")}, {"--prompt"});
}

TEST_F(UsageTest, SizesAreMultiplesAndNotAbsurd) {
  expect_failure(2, generate({"--width", "41"}), {"width 41", "multiple of 8", "nearest is 40"});
  expect_failure(2, generate({"--height", "100001"}), {"height 100001"});
  expect_failure(2, generate({"--width", "100000"}), {"width 100000", "at most 8192"});
  expect_failure(2, generate({"--width", "8192", "--height", "8192"}), {"megapixels"});
  for (const char* width : {"0", "-40", "99999999999999999999", "forty", "40.0", "", "0x28"}) {
    expect_failure(2, generate({"--width", width}), {"--width", width});
  }
}

TEST_F(UsageTest, StepsSeedsAndNumbers) {
  for (const char* steps : {"0", "-1", "1001", "many", "4 "}) {
    expect_failure(2, generate({"--steps", steps}), {"--steps", "1 to 1000", steps});
  }
  for (const char* guidance : {"nan", "inf", "high", "", "1e300", "-4e38"}) {
    expect_failure(2, generate({"--guidance", guidance}), {"--guidance", "finite number", guidance});
  }
  expect_failure(2, generate({"--seed", "18446744073709551616"}), {"--seed"});
  expect_failure(2, generate({"--seed", "x"}), {"--seed", "'x'"});
  expect_failure(2, generate({"--count", "0"}), {"--count"});
  expect_failure(2, generate({"--count", "2", "--seed", "18446744073709551615"}), {"--seed", "18446744073709551614"});
  expect_failure(2, generate({"--count", "2", "--seed", "-1"}), {"--seed"});
  expect_failure(2, generate({"--max-sequence-length", "513"}), {"--max-sequence-length", "512"});
  expect_failure(2, generate({"--noise", "f16"}), {"--noise", "f32 or bf16"});
  expect_failure(2, generate({"--device", "tpu"}), {"--device", "auto|cpu|cuda"});
  expect_failure(2, generate({"--threads", "-2"}), {"--threads"});
  expect_failure(2, {"debug", "noise", "--seed", "1", "--shape", "1,0", "--out", path("n")}, {"--shape"});
  expect_failure(2, {"debug", "noise", "--seed", "1", "--shape", "65536,65536", "--out", path("n")}, {"--shape"});
  expect_failure(2, {"debug", "noise", "--seed", "1", "--shape", "1,1,1,1,1,1", "--out", path("n")}, {"dimensions"});
}

TEST_F(UsageTest, ScalesAreNumbers) {
  for (const char* scale : {"strong", "", "nan", "inf", "1e99", "-4e38"}) {
    expect_failure(2, generate({"--lora", lora_.string() + ":" + scale}), {"--lora", "scale", scale});
  }
  expect_failure(2, generate({"--lora", ""}), {"--lora"});
}

TEST_F(UsageTest, PicturesArePng) {
  expect_failure(2, generate({"--out", path("out.jpg")}), {"--out", ".png", "out.jpg"});
}

TEST_F(UsageTest, NoFileHasTwoUses) {
  const std::string same = path("same.png"), other = path("../") + temp_.path().filename().string() + "/same.png";
  for (const std::string& again : {same, other}) {
    expect_failure(2, generate({"--out", same, "--taps", again}), {"--out", "--taps", "same.png"});
    expect_failure(2, generate({"--out", same, "--save-latents", again}), {"--out", "--save-latents"});
    expect_failure(2, generate({"--taps", same, "--save-latents", again}), {"--taps", "--save-latents"});
  }
  expect_failure(2, generate({"--count", "2", "--taps", path("out-0002.png")}), {"--out", "--taps"});
  const std::string copy = temp_.file("copy.png", read_all(lora_)).string();
  expect_failure(2, generate({"--lora", copy, "--out", copy}), {"--lora", "--out"});
  expect_failure(2, {"grid", "--model", model_.string(), "--prompt", "a", "--lora", copy, "--out", copy},
                 {"--lora", "--out"});
  expect_failure(2, {"lora", "convert", copy, copy, "--model", model_.string()}, {"IN", "OUT"});
  expect_failure(2, {"debug", "encode", "--model", model_.string(), "--prompt", "a", "--out", same, "--taps", same},
                 {"--out", "--taps"});
  EXPECT_EQ(read_all(temp_ / "copy.png"), read_all(lora_));
  expect_success(generate({"--out", "/dev/null", "--taps", "/dev/null"}));
}

TEST_F(UsageTest, ReportsAndFilesDoNotMix) {
  expect_failure(2, generate({"--out", "/dev/stdout"}), {"/dev/stdout", "standard output"});
  const std::string report = temp_.file("report", "").string();
  expect_failure(2, generate({"--taps", report}), {"report", "standard output"}, {.stdout_file = report});
}

TEST_F(UsageTest, HelpAndVersionAreNotErrors) {
  EXPECT_THAT(expect_success({"--version"}), ::testing::MatchesRegex("fluxswap [0-9.]+\n"));
  EXPECT_THAT(expect_success({"--help"}), ::testing::HasSubstr("Examples:"));
  for (const Arguments& command : {Arguments{"generate"},
                                   {"grid"},
                                   {"lora", "inspect"},
                                   {"lora", "convert"},
                                   {"model", "inspect"},
                                   {"debug", "tokens"},
                                   {"debug", "sigmas"},
                                   {"debug", "noise"},
                                   {"debug", "encode"},
                                   {"debug", "transformer"}}) {
    Arguments all = command;
    all.push_back("--help");
    EXPECT_THAT(expect_success(all), ::testing::HasSubstr("fluxswap " + command.front()));
  }
}

}  // namespace
}  // namespace fx::test
