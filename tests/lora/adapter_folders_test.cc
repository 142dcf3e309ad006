#include "lora/adapter_folders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AdapterFoldersTest : public ::testing::Test {
 protected:
  fs::path add(const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    return folder_.file(name, "");
  }
  AdapterFolders known() const { return AdapterFolders({folder_.path()}); }
  static std::string error(const AdapterFolders& folders, const std::string& name) {
    return error_of(ErrorCode::invalid_argument, [&] { folders.find(name); });
  }
  TempFolder folder_;
};

TEST_F(AdapterFoldersTest, FindFilesByTheirNames) {
  const fs::path ink = add("ink.safetensors"), neon = add("styles/Neon v1.2.safetensors"),
                 zorb = add("trained/zorb/adapter_model.safetensors");
  add("notes.txt");
  fs::create_directory(folder_ / "empty.safetensors");
  const AdapterFolders folders = known();
  EXPECT_EQ(folders.find("ink"), ink);
  EXPECT_EQ(folders.find("INK"), ink);
  EXPECT_EQ(folders.find("neon v1.2"), neon);
  EXPECT_EQ(folders.find("styles/neon v1.2"), neon);
  EXPECT_EQ(folders.find("zorb"), zorb);
  EXPECT_EQ(folders.find("trained/zorb"), zorb);
  error(folders, "notes");
  error(folders, "empty");
}

TEST_F(AdapterFoldersTest, SayWhatIsLikeAnUnknownName) {
  for (const char* name : {"watercolor", "watercolour-2", "ink", "blueprint"}) add(std::string(name) + ".safetensors");
  EXPECT_THAT(error(known(), "watrecolor"),
              AllOf(HasSubstr("'watrecolor'"), HasSubstr("near matches: 'watercolor'"), Not(HasSubstr("ink"))));
  EXPECT_THAT(error(known(), "water"), AllOf(HasSubstr("watercolor"), HasSubstr("watercolour-2")));
  EXPECT_THAT(error(known(), "zzzzzz"), HasSubstr("known are 'blueprint', 'ink'"));
  EXPECT_THAT(error(AdapterFolders(), "ink"), HasSubstr("--lora-dir"));
  EXPECT_THAT(error(AdapterFolders({folder_.path() / "."}), ""), HasSubstr("no adapter"));
}

TEST_F(AdapterFoldersTest, AskForMoreWhereSeveralFit) {
  const fs::path a = add("a/ink.safetensors"), b = add("b/ink.safetensors"), upper = add("b/INK.safetensors");
  EXPECT_THAT(error(known(), "ink"), AllOf(HasSubstr("found 2"), HasSubstr(a.string()), HasSubstr(b.string())));
  EXPECT_EQ(known().find("a/ink"), a);
  EXPECT_EQ(known().find("INK"), upper);  // the case matters where it decides
  EXPECT_THAT(error(known(), "Ink"), HasSubstr("found 3"));
  const fs::path top = add("ink.safetensors");
  EXPECT_EQ(known().find("ink"), top);
}

TEST_F(AdapterFoldersTest, CountAFileOnce) {
  const fs::path ink = add("a/ink.safetensors");
  AdapterFolders folders({folder_.path(), folder_ / "a"});
  EXPECT_EQ(folders.find("ink"), ink);
  folders.add(folder_ / "a" / "../a/ink.safetensors");
  EXPECT_EQ(folders.find("ink"), ink);
  const TempFolder elsewhere;
  folders.add(elsewhere.file("pixel.safetensors", ""));
  EXPECT_EQ(folders.find("Pixel"), elsewhere / "pixel.safetensors");
}

TEST_F(AdapterFoldersTest, RefuseWhatIsNoFolder) {
  const auto error = [](const fs::path& path) {
    return error_of(ErrorCode::bad_file, [&] { AdapterFolders({path}); });
  };
  EXPECT_THAT(error(folder_ / "nowhere"), HasSubstr("found nothing"));
  EXPECT_THAT(error(add("ink.safetensors")), HasSubstr("found a file"));
}

TEST(EditDistance, CountsChanges) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("ink", ""), 3u);
  EXPECT_EQ(edit_distance("ink", "ink"), 0u);
  EXPECT_EQ(edit_distance("ink", "pink"), 1u);
  EXPECT_EQ(edit_distance("pnik", "pink"), 1u);  // neighbours exchanged
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

}  // namespace
}  // namespace fx::test
