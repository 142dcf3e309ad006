// The cache of adapters: what is read, when, and what stays.
#include "lora/library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lora/adapter_file.h"
#include "lora/file/read.h"
#include "lora/tiny_model.h"
#include "lora/write/convert.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LibraryTest : public ::testing::Test {
 protected:
  fs::path write(const std::string& name) {
    return adapter_for(model_.target, name).write(folder_ / (name + ".safetensors"));
  }
  bool is_cached(AdapterLibrary& library, const fs::path& path) {
    bool cached = false;
    library.get(path, &cached);
    return cached;
  }
  uint64_t size_of_one() { return read_adapter(a_, model_.target).bytes(); }

  TempFolder folder_;
  TinyModel model_;
  const fs::path a_ = write("a"), b_ = write("b"), c_ = write("c");
};

TEST_F(LibraryTest, CountsWhatItDoes) {
  AdapterLibrary library(model_.target);
  library.get(a_);
  library.get(a_);
  library.get(b_);
  library.note_swap(0.25);
  library.note_swap(0.5);
  const LibraryStatistics s = library.statistics();
  EXPECT_EQ(s.hits, 1u);
  EXPECT_EQ(s.misses, 2u);
  EXPECT_EQ(s.adapters, 2u);
  EXPECT_EQ(s.bytes, library.get(a_)->bytes() + library.get(b_)->bytes());
  EXPECT_GT(s.load_seconds, 0);
  EXPECT_EQ(s.swaps, 2u);
  EXPECT_EQ(s.swap_seconds, 0.75);
}

TEST_F(LibraryTest, KeepsAdaptersAsSlotsTakeThem) {
  const fs::path file = folder_ / "half.safetensors";
  write_diffusers_adapter(file, read_adapter(a_, model_.target), model_.target, DType::bf16);
  const Adapter half = read_adapter(file, model_.target);
  AdapterLibrary library(model_.target);
  const auto ready = library.get(file);
  ASSERT_EQ(ready->patches.size(), half.patches.size());
  for (size_t i = 0; i < half.patches.size(); ++i) {
    EXPECT_EQ(half.patches[i].a.dtype(), DType::bf16);
    EXPECT_EQ(ready->patches[i].a.dtype(), DType::f32);
    EXPECT_EQ(ready->patches[i].a.values(), half.patches[i].a.values());
    EXPECT_EQ(ready->patches[i].b.values(), half.patches[i].b.values());
  }
  EXPECT_EQ(library.statistics().bytes, 2 * half.bytes());
  EXPECT_EQ(model_.run_with({{ready}}), model_.run_with({{std::make_shared<Adapter>(half)}}));
}

TEST_F(LibraryTest, KeepsWhatIsPinned) {
  AdapterLibrary library(model_.target, size_of_one() * 3 / 2);
  library.pin(a_);
  library.get(a_);
  library.get(b_);  // over the budget, and the only one that may go
  EXPECT_TRUE(is_cached(library, a_));
  EXPECT_FALSE(is_cached(library, b_));
  EXPECT_EQ(library.statistics().evictions, 2u);
  write("a");
  fs::last_write_time(a_, fs::last_write_time(a_) + std::chrono::seconds(2));
  EXPECT_FALSE(is_cached(library, a_));  // it has changed
  library.get(b_);
  EXPECT_TRUE(is_cached(library, a_));  // and is pinned still
  library.unpin(a_);
  library.get(b_);
  EXPECT_FALSE(is_cached(library, a_));
}

TEST_F(LibraryTest, ReadsAhead) {
  AdapterLibrary library(model_.target);
  library.preload({a_, folder_ / "none.safetensors", b_, a_});
  library.wait_for_preloads();
  EXPECT_EQ(library.statistics().preloads, 2u);
  EXPECT_EQ(library.statistics().misses, 0u);
  EXPECT_TRUE(is_cached(library, a_));
  EXPECT_TRUE(is_cached(library, b_));
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { library.get(folder_ / "none.safetensors"); }),
              HasSubstr("none.safetensors"));
}

TEST_F(LibraryTest, EndsWhileFilesAreWaiting) {
  for (int i = 0; i < 20; ++i) {
    AdapterLibrary library(model_.target);
    library.preload({a_, b_, c_, a_, b_, c_});
  }
}

TEST_F(LibraryTest, ReadsAFileOnceForAllThreads) {
  AdapterLibrary library(model_.target);
  std::vector<std::shared_ptr<const Adapter>> found(8);
  std::vector<std::thread> threads;
  library.preload({a_});
  for (auto& adapter : found) threads.emplace_back([&] { adapter = library.get(a_); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& adapter : found) EXPECT_EQ(adapter, found.front());
  const LibraryStatistics s = library.statistics();
  EXPECT_EQ(s.misses + s.preloads, 1u);
  EXPECT_EQ(s.hits + s.misses, found.size());
}

TEST_F(LibraryTest, EveryThreadIsToldOfABadFile) {
  const fs::path bad = folder_.file("bad.safetensors", "<!DOCTYPE html>");
  AdapterLibrary library(model_.target);
  std::atomic<int> told = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      try {
        library.get(bad);
      } catch (const Error& error) { told += error.code() == ErrorCode::bad_file; }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told, 8);
  EXPECT_EQ(library.statistics().adapters, 0u);
  fs::copy_file(a_, bad, fs::copy_options::overwrite_existing);
  EXPECT_FALSE(is_cached(library, bad));  // a repaired file is read
}

// Threads that read, read ahead, pin and change files under a budget that holds two: no deadlock, and always the file.
TEST_F(LibraryTest, HoldsUpUnderLoad) {
  AdapterLibrary library(model_.target, size_of_one() * 5 / 2);
  const std::vector<fs::path> files = {a_, b_, c_};
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      Rng rng(seed);
      for (int i = 0; i < 60; ++i) {
        const fs::path& file = files[static_cast<size_t>(rng.below(3))];
        switch (rng.below(5)) {
          case 0: library.preload({file}); break;
          case 1: library.pin(file); break;
          case 2: library.unpin(file); break;
          default: EXPECT_EQ(library.get(file)->name, file.stem().string());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const fs::path& file : files) library.unpin(file);
  library.wait_for_preloads();
  EXPECT_LE(library.bytes(), size_of_one() * 5 / 2);
}

}  // namespace
}  // namespace fx::test
