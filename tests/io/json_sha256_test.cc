#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/json_file.h"
#include "io/safetensors_files.h"
#include "io/sha256.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using ::testing::AllOf;
using test::error_of;
using ::testing::HasSubstr;
using test::TempFolder;

TEST(JsonFile, ReadsAndSaysWhereItFails) {
  const TempFolder folder;
  EXPECT_EQ(read_json_file(folder.file("a.json", R"({"a": [1, 2]})"))["a"][1], 2);
  const auto refusal = [](const std::filesystem::path& path) {
    return error_of(ErrorCode::bad_file, [&] { read_json_file(path); });
  };
  EXPECT_THAT(refusal(folder.file("b.json", "{\n \"a\": ?}")),
              AllOf(HasSubstr("b.json"), HasSubstr("line 2, column 7")));
  EXPECT_THAT(refusal(folder.file("c.json", "")), HasSubstr("c.json: the file is empty"));
  EXPECT_THAT(refusal(folder / "d.json"), HasSubstr("d.json: no such file"));
  EXPECT_THAT(refusal(folder.file("e.json", "{\"a\": \"\xff\"}")), HasSubstr("ill-formed UTF-8"));
}

TEST(JsonFile, SurvivesDeepNesting) {
  const TempFolder folder;
  constexpr size_t kDepth = 1'000'000;
  EXPECT_THROW(read_json_file(folder.file("open.json", std::string(kDepth, '['))), Error);
  EXPECT_TRUE(read_json_file(folder.file("deep.json", std::string(kDepth, '[') + std::string(kDepth, ']'))).is_array());
}

TEST(Sha256, KnownAnswers) {
  // From FIPS 180-2, appendix B.
  EXPECT_EQ(sha256_hex(test::as_bytes("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const TempFolder folder;
  EXPECT_EQ(sha256_file(folder.file("a", std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(sha256_file(folder.file("b", "")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, RefusesWhatItCannotRead) {
  const TempFolder folder;
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { sha256_file(folder / "no"); }), HasSubstr("no: cannot open"));
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { sha256_file(folder.path()); }), HasSubstr("cannot open"));
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { sha256_file(folder / "loop"); }), HasSubstr("loop: cannot open"));
  // Address 0 of a process cannot be read.
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { sha256_file("/proc/self/mem"); }), HasSubstr("reading failed"));
}

}  // namespace
}  // namespace fx
