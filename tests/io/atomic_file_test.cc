#include "io/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using test::read_all;
using test::TempFolder;

// No file of this process may grow beyond `bytes`, while it lives: a disk that is full, without a disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(AtomicFile, AppearsCompleteOrNotAtAll) {
  const TempFolder folder;
  {
    AtomicFile file(folder / "out");
    file.write("hello");
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    file.write(" world");
    file.commit();
  }
  EXPECT_EQ(read_all(folder / "out"), "hello world");
  EXPECT_EQ(folder.names().size(), 1u);
  struct stat status {};
  ::stat((folder / "out").c_str(), &status);
  EXPECT_NE(status.st_mode & S_IRUSR, 0u);
  EXPECT_EQ(status.st_mode & S_IXUSR, 0u);
}

TEST(AtomicFile, LeavesNothingWithoutACommit) {
  const TempFolder folder;
  const auto old = folder.file("out", "old");
  {
    AtomicFile file(old);
    file.write("new");
  }
  EXPECT_EQ(read_all(old), "old");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(AtomicFile, ReplacesAFileAndKeepsALink) {
  const TempFolder folder;
  const auto real = folder.file("real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  AtomicFile file(folder / "link");
  file.write("new");
  file.commit();
  EXPECT_EQ(read_all(real), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const TempFolder folder;
  const auto old = folder.file("out", "old");
  const std::string message = error_of(ErrorCode::device, [&] {
    const FileSizeLimit limit(4096);
    AtomicFile file(old);
    for (int i = 0; i < 100; ++i) file.write(std::string(1000, 'x'));
    file.commit();
  });
  EXPECT_THAT(message, HasSubstr("out: File too large"));
  EXPECT_EQ(read_all(old), "old");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(AtomicFile, WritesDevicesDirectly) {
  AtomicFile null("/dev/null");
  null.write("gone");
  null.commit();
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  const std::string message = error_of(ErrorCode::device, [] {
    AtomicFile full("/dev/full");
    full.write("x");
  });
  EXPECT_THAT(message, HasSubstr("cannot write /dev/full: No space left on device"));
}

TEST(AtomicFile, RefusesImpossibleTargets) {
  const TempFolder folder;
  const auto refusal = [](const std::filesystem::path& path) {
    return error_of(ErrorCode::device, [&] { AtomicFile file(path); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("empty name"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("it is a folder"));
  EXPECT_THAT(refusal(folder / "new/"), HasSubstr("it is a folder"));
  EXPECT_THAT(refusal(folder / "no/out"), HasSubstr("no/out: the folder does not exist"));
  EXPECT_THAT(refusal(folder.file("plain", "x") / "out"), HasSubstr("Not a directory"));
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_THAT(refusal(folder / "loop"), HasSubstr("loop: Too many levels of symbolic links"));
  EXPECT_THAT(folder.names(), ::testing::UnorderedElementsAre("plain", "loop"));
}

TEST(AtomicFile, FailedRenameLeavesNothing) {
  const TempFolder folder;
  const std::string message = error_of(ErrorCode::device, [&] {
    AtomicFile file(folder / "out");
    std::filesystem::create_directories(folder / "out/sub");
    file.commit();
  });
  EXPECT_THAT(message, HasSubstr("cannot write"));
  EXPECT_THAT(folder.names(), ::testing::ElementsAre("out"));
}

}  // namespace
}  // namespace fx
