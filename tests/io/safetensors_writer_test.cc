#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/arena.h"
#include "io/safetensors.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using test::error_of;
using test::TempFolder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct WriterTest : ::testing::Test {
  Tensor bytes_tensor(DType dtype, const Shape& shape) {
    const Tensor tensor = arena.allocate(dtype, shape);
    for (int64_t i = 0; i < tensor.bytes(); ++i) tensor.data<uint8_t>()[i] = static_cast<uint8_t>(7 * i + 1);
    return tensor;
  }
  std::string refusal(ErrorCode code, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {}) {
    return error_of(code, [&] { write_safetensors(folder / "out.safetensors", tensors, metadata); });
  }

  TempFolder folder;
  std::unique_ptr<Runtime> runtime = make_host_runtime();
  Arena arena{*runtime};
};

TEST_F(WriterTest, WhatIsWrittenReadsBackTheSame) {
  std::map<std::string, Tensor> tensors = {{"odd", bytes_tensor(DType::u8, {3})},
                                           {"half", bytes_tensor(DType::bf16, {3, 1})},
                                           {"wide", bytes_tensor(DType::f64, {2})},
                                           {"single", bytes_tensor(DType::f32, {1, 2, 3, 4, 5})},
                                           {"scalar", bytes_tensor(DType::i64, {})},
                                           {"none", bytes_tensor(DType::f32, {0, 4})},
                                           {"name with \"quotes\" and ü", bytes_tensor(DType::f16, {1})}};
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"line\n", "\\ä"}};
  write_safetensors(folder / "out.safetensors", tensors, metadata);
  const auto source = open_safetensors(folder / "out.safetensors");
  EXPECT_EQ(source->metadata(), metadata);
  EXPECT_EQ(source->tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const TensorInfo* info = source->find(name);
    ASSERT_NE(info, nullptr) << name;
    EXPECT_EQ(info->dtype, tensor.dtype());
    EXPECT_EQ(info->shape, tensor.shape());
    EXPECT_EQ(info->begin % size_of(info->dtype), 0u) << name << " is not aligned";
    const auto bytes = source->bytes(*info);
    ASSERT_EQ(bytes.size(), static_cast<size_t>(tensor.bytes()));
    EXPECT_EQ(std::memcmp(bytes.data(), tensor.raw(), bytes.size()), 0) << name;
  }
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST_F(WriterTest, WritesNoTensorsAtAll) {
  write_safetensors(folder / "out.safetensors", {}, {{"only", "metadata"}});
  EXPECT_TRUE(open_safetensors(folder / "out.safetensors")->tensors().empty());
}

TEST_F(WriterTest, RefusesWhatTheFormatCannotHold) {
  const Tensor good = bytes_tensor(DType::f32, {4, 4});
  EXPECT_THAT(refusal(ErrorCode::invalid_argument, {{"t", Tensor()}}),
              HasSubstr("'t': expected a contiguous one, found none"));
  EXPECT_THAT(refusal(ErrorCode::invalid_argument, {{"t", good.transpose(0, 1)}}), HasSubstr("found strides"));
  EXPECT_THAT(refusal(ErrorCode::invalid_argument, {{"__metadata__", good}}), HasSubstr("cannot be the name"));
  EXPECT_THAT(refusal(ErrorCode::invalid_argument, {{"\xff", good}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(refusal(ErrorCode::invalid_argument, {{"t", good}}, {{"k", "\xff"}}), HasSubstr("not UTF-8"));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(WriterTest, AFullDiskLeavesNothing) {
  const Tensor good = bytes_tensor(DType::f32, {4, 4});
  EXPECT_THAT(error_of(ErrorCode::device,
                       [&] {
                         write_safetensors("/dev/full", {{"t", good}});
                       }),
              HasSubstr("No space left on device"));
  EXPECT_THAT(error_of(ErrorCode::device,
                       [&] {
                         write_safetensors(folder / "no/out", {{"t", good}});
                       }),
              HasSubstr("the folder does not exist"));
}

TEST_F(WriterTest, TensorsOneAfterTheOther) {
  const std::vector<std::byte> first(12, std::byte{1}), second(2, std::byte{2});
  SafetensorsWriter writer(folder / "out.safetensors", {{"b", DType::f32, {3}}, {"a", DType::f16, {1, 1}}},
                           {{"k", "v"}});
  writer.write(first);
  EXPECT_THAT(error_of(ErrorCode::internal, [&] { writer.commit(); }), HasSubstr("1 of 2"));
  error_of(ErrorCode::internal, [&] { writer.write(first); });  // of the other's size
  writer.write(second);
  error_of(ErrorCode::internal, [&] { writer.write(second); });
  EXPECT_THAT(folder.names(), ::testing::Each(::testing::Not("out.safetensors")));
  writer.commit();
  const auto source = open_safetensors(folder / "out.safetensors");
  EXPECT_EQ(source->names(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(source->metadata().at("k"), "v");
  EXPECT_TRUE(std::ranges::equal(source->bytes(*source->find("a")), second));
}

TEST_F(WriterTest, NothingIsLeftOfAFileThatIsNotCommitted) {
  { const SafetensorsWriter writer(folder / "out.safetensors", {{"a", DType::f32, {3}}}); }
  EXPECT_THAT(folder.names(), IsEmpty());
  EXPECT_THAT(
      error_of(ErrorCode::invalid_argument,
               [&] {
                 SafetensorsWriter(folder / "out.safetensors", {{"a", DType::f32, {3}}, {"a", DType::f32, {1}}});
               }),
      HasSubstr("'a' cannot be the name of a second tensor"));
}

}  // namespace
}  // namespace fx
