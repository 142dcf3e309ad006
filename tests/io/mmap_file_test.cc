#include "io/mmap_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <numeric>
#include <vector>

#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using test::TempFolder;

// Pages of files that this process has in memory.
size_t shared_bytes() {
  size_t total = 0, resident = 0, shared = 0;
  std::ifstream("/proc/self/statm") >> total >> resident >> shared;
  return shared * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(MmapFile, GivesMemoryBackAndKeepsTheContents) {
  constexpr size_t kSize = 32 << 20;
  const TempFolder folder;
  const MmapFile file(folder.file("big", std::string(kSize, 'x')));
  ASSERT_EQ(file.bytes().size(), kSize);
  const auto touch = [&] {
    return std::accumulate(file.bytes().begin(), file.bytes().end(), size_t{0},
                           [](size_t sum, std::byte byte) { return sum + std::to_integer<size_t>(byte); });
  };
  const size_t before = shared_bytes();
  EXPECT_EQ(touch(), kSize * 'x');
  EXPECT_GT(shared_bytes(), before + kSize / 2);
  file.advise_done(file.bytes().subspan(5, kSize - 10));
  EXPECT_LT(shared_bytes(), before + kSize / 8);
  EXPECT_EQ(touch(), kSize * 'x');
  file.advise_done({});
}

TEST(MmapFile, MovesItsMapping) {
  const TempFolder folder;
  MmapFile first(folder.file("a", "hello"));
  const auto* address = first.bytes().data();
  const MmapFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), address);
  EXPECT_EQ(second.path().filename(), "a");
  EXPECT_TRUE(first.bytes().empty());  // NOLINT: moved-from files are empty
}

TEST(MmapFile, NamesTheSizeThatItCannotMap) {
  const TempFolder folder;
  const auto path = folder.file("huge", "x");
  std::error_code error;
  std::filesystem::resize_file(path, uintmax_t{1} << 43, error);  // sparse, a sixteenth of all addresses
  if (error) GTEST_SKIP() << "this file system has no files of 8 TB";
  const std::string message = error_of(ErrorCode::out_of_memory, [&] {
    std::vector<MmapFile> files;
    for (int i = 0; i < 32; ++i) files.emplace_back(path);
  });
  EXPECT_THAT(message, HasSubstr("huge: cannot map 8796093022208 bytes into memory"));
}

}  // namespace
}  // namespace fx
