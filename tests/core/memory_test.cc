#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "core/arena.h"
#include "support/expect_error.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;

TEST(HostRuntime, CountsItsMemory) {
  const auto runtime = make_host_runtime();
  EXPECT_EQ(runtime->device_name(), "cpu");
  void* a = runtime->allocate(1000);
  void* b = runtime->allocate(0);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 64, 0u);
  EXPECT_EQ(runtime->memory().current_bytes, 1000u);
  runtime->release(a, 1000);
  runtime->release(b, 0);
  EXPECT_EQ(runtime->memory().current_bytes, 0u);
  EXPECT_EQ(runtime->memory().peak_bytes, 1000u);
}

TEST(HostRuntime, CopiesAndClears) {
  const auto runtime = make_host_runtime();
  int source[2] = {1, 2}, target[2] = {};
  runtime->copy(target, source, sizeof(source), CopyKind::host_to_device);
  runtime->copy(nullptr, nullptr, 0, CopyKind::device_to_device);
  runtime->synchronize();
  EXPECT_EQ(target[1], 2);
  runtime->fill_zero(target, sizeof(target));
  EXPECT_EQ(target[1], 0);
}

TEST(HostRuntime, NamesTheSizeThatItCannotAllocate) {
  const auto runtime = make_host_runtime();
  EXPECT_THAT(error_of(ErrorCode::out_of_memory, [&] { runtime->allocate(SIZE_MAX); }),
              HasSubstr("cannot allocate 18446744073709551615 bytes"));
  EXPECT_THAT(error_of(ErrorCode::out_of_memory, [&] { Buffer(*runtime, DType::f32, Shape{int64_t{1} << 61}); }),
              HasSubstr("cannot allocate"));
  EXPECT_EQ(runtime->memory().current_bytes, 0u);
}

TEST(Buffer, OwnsItsMemoryAndMoves) {
  const auto runtime = make_host_runtime();
  {
    Buffer first(*runtime, DType::f32, {2, 3});
    EXPECT_EQ(first.tensor().shape(), (Shape{2, 3}));
    EXPECT_EQ(runtime->memory().current_bytes, 24u);
    void* address = first.tensor().raw();
    Buffer second(std::move(first));
    EXPECT_EQ(second.tensor().raw(), address);
    EXPECT_FALSE(first.tensor().defined());  // NOLINT: moved-from buffers are empty
    Buffer third(*runtime, DType::u8, {5});
    third = std::move(second);
    EXPECT_EQ(runtime->memory().current_bytes, 24u);
    EXPECT_EQ(third.tensor().raw(), address);
    third.reset();
    third.reset();
    EXPECT_EQ(runtime->memory().current_bytes, 0u);
  }
  EXPECT_EQ(runtime->memory().current_bytes, 0u);
}

TEST(Arena, KeepsAddressesUntilItDies) {
  const auto runtime = make_host_runtime();
  {
    Arena arena(*runtime);
    const Tensor a = arena.f32({4, 4});
    a.f32()[15] = 1.0f;
    for (int i = 0; i < 100; ++i) arena.i32({8}).i32()[0] = i;
    EXPECT_EQ(a.f32()[15], 1.0f);
    EXPECT_EQ(arena.allocate(DType::bf16, {3}).dtype(), DType::bf16);
    EXPECT_EQ(&arena.runtime(), runtime.get());
    EXPECT_EQ(runtime->memory().current_bytes, 64u + 100 * 32 + 6);
  }
  EXPECT_EQ(runtime->memory().current_bytes, 0u);
}

TEST(HostRuntime, RefusesMoreThanItsLimit) {
  const auto runtime = make_host_runtime(1000);
  const Buffer first(*runtime, DType::u8, {600});
  const std::string message = error_of(ErrorCode::out_of_memory, [&] { Buffer(*runtime, DType::u8, {401}); });
  EXPECT_NE(message.find("a smaller picture may fit"), std::string::npos) << message;
  EXPECT_EQ(runtime->memory().current_bytes, 600u);
  const Buffer second(*runtime, DType::u8, {400});
  EXPECT_GT(host_memory_bytes(), size_t{64} << 20);
  EXPECT_LT(host_memory_bytes(), SIZE_MAX);
  const size_t available = make_host_runtime()->host_available();
  EXPECT_GT(available, size_t{1} << 20);
  EXPECT_LT(available, host_memory_bytes()) << "this program has some of it";
}

}  // namespace
}  // namespace fx
