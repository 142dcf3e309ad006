#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/dtype.h"
#include "io/safetensors_files.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using namespace std::string_literals;
using test::as_bytes;
using test::error_of;
using test::length_prefix;
using test::safetensors_file;
using test::TempFolder;
using test::valid_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::string& file) {
  return error_of(ErrorCode::bad_file, [&] { parse_safetensors(as_bytes(file), "x.safetensors"); });
}

TEST(Safetensors, ReadsNamesShapesMetadataAndUnalignedData) {
  const TempFolder folder;
  const auto path = folder.file("x.safetensors", valid_file());
  const auto source = open_safetensors(path);
  EXPECT_THAT(source->names(), ElementsAre("bytes", "none", "late", "scalar"));
  EXPECT_EQ(source->metadata().at("title"), "ä \"b\"");
  EXPECT_EQ(source->path(), path);
  EXPECT_EQ(source->find("nobody"), nullptr);

  const TensorInfo* late = source->find("late");
  ASSERT_NE(late, nullptr);
  EXPECT_EQ(late->dtype, DType::f32);
  EXPECT_EQ(late->shape, (Shape{2, 2}));
  std::array<float, 4> values{};
  convert_to_f32(late->dtype, source->bytes(*late).data(), values.data(), 4);
  EXPECT_THAT(values, ElementsAre(1.0f, 2.0f, 3.0f, 4.0f));
  source->release(*late);
  convert_to_f32(late->dtype, source->bytes(*late).data(), values.data(), 4);
  EXPECT_EQ(values[3], 4.0f) << "released data can be read again";
  EXPECT_EQ(source->find("scalar")->shape.rank(), 0);
  EXPECT_EQ(source->find("none")->shape.count(), 0);
  EXPECT_TRUE(source->bytes(*source->find("none")).empty());
  source->release(*source->find("none"));
}

TEST(Safetensors, TakesEveryDtype) {
  for (const DType dtype :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::f8_e4m3, DType::f8_e5m2, DType::i64, DType::i32,
        DType::i16, DType::i8, DType::u64, DType::u32, DType::u16, DType::u8, DType::boolean}) {
    const size_t bytes = 3 * size_of(dtype);
    const auto header =
        fmt::format(R"({{"t":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", safetensors_name(dtype), bytes);
    const std::string file = safetensors_file(header, std::string(bytes, 'x'));
    EXPECT_EQ(parse_safetensors(as_bytes(file), "x").tensors.at(0).dtype, dtype);
  }
}

TEST(Safetensors, TakesAFileWithoutTensorsAndIgnoresUnknownFields) {
  EXPECT_TRUE(parse_safetensors(as_bytes(safetensors_file("{}", "")), "x").tensors.empty());
  const std::string file = safetensors_file(
      R"({"t":{"more":[1,[2,{"a":{}}],null],"dtype":"U8","x":-1.5,"y":{"z":[{}]},"w":true,"shape":[1],"v":"s",)"
      R"("u":7,"data_offsets":[0,1]}})",
      "x");
  EXPECT_EQ(parse_safetensors(as_bytes(file), "x").tensors.at(0).shape, Shape{1});
}

struct BadHeader {
  const char* header;
  const char* data;
  const char* message;
};

constexpr BadHeader kBadHeaders[] = {
    {"{\"t\":", "", "not valid JSON"},
    {"{} x", "", "not valid JSON"},
    {"{\"\xff\":1}", "", "last read: '\"\\xff'"},
    {"[]", "", "does not begin with '{'"},
    {" {}", "", "does not begin with '{'"},
    {R"({"t":3})", "", "tensor 't': expected an object with dtype, shape and data_offsets, found 3"},
    {R"({"t":null})", "", "found null"},
    {R"({"t":[1]})", "", "found an array"},
    {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
     "xy", "the name 'a' comes twice"},
    {R"({"__metadata__":{},"__metadata__":{}})", "", "'__metadata__' comes twice"},
    {R"({"__metadata__":{"k":"1","k":"2"}})", "", "the key 'k' comes twice in __metadata__"},
    {R"({"__metadata__":{"k":1}})", "", "__metadata__ must map strings to strings, found 1 for 'k'"},
    {R"({"__metadata__":{"k":{}}})", "", "found an object for 'k'"},
    {R"({"__metadata__":[]})", "", "__metadata__ must map strings to strings, found an array"},
    {R"({"__metadata__":true})", "", "found a boolean"},
    {R"({"t":{"shape":[1],"data_offsets":[0,1]}})", "x", "tensor 't': dtype is missing"},
    {R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", "x", "tensor 't': shape is missing"},
    {R"({"t":{"dtype":"U8","shape":[1]}})", "x", "tensor 't': data_offsets is missing"},
    {R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x", "dtype is given twice"},
    {R"({"t":{"dtype":"I4","shape":[1],"data_offsets":[0,1]}})", "x", "tensor 't': unknown dtype 'I4'"},
    {R"({"t":{"dtype":4,"shape":[1],"data_offsets":[0,1]}})", "x", "tensor 't': unexpected value for dtype: 4"},
    {R"({"t":{"dtype":"U8","shape":"1","data_offsets":[0,1]}})", "x", "unexpected value for shape: a string"},
    {R"({"t":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", "x", "unexpected value for shape: an object"},
    {R"({"t":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})", "x", "unexpected value for dtype: an array"},
    {R"({"t":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x",
     "a size must be a whole number of 0 or more, found -1"},
    {R"({"t":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "x", "found 1.0"},
    {R"({"t":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})", "x", "found a boolean"},
    {R"({"t":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", "x", "found a string"},
    {R"({"t":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "x", "found an array"},
    {R"({"t":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}})", "x", "found 9223372036854775808"},
    {R"({"t":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}})", "x", "found 99999999999999999999"},
    {R"({"t":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[0,1]}})", "x", "tensor 't': it has more than the 5"},
    {R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,1]}})", "x", "does not fit 64 bits"},
    {R"({"t":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "", "does not fit 64 bits"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "x", "data_offsets must be two numbers, found 1"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "x", "data_offsets must be two numbers, found 3"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", "x", "a data offset must be a whole number"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "x", "begin at 1, after their end at 0"},
    {R"({"t":{"dtype":"F32","shape":[2,3],"data_offsets":[0,1]}})", "x",
     "tensor 't': (2, 3) f32 needs 24 bytes, but data_offsets give 1"},
    {R"({"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "x",
     "tensor 't': its data end at byte 2, but the file has only 1"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}})", "x",
     "its data end at"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xy",
     "1 bytes before the data of tensor 't' belong to no tensor"},
    {R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xyz", "2 bytes after the last tensor"},
    {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
     "xyz", "the data of the tensors 'a' and 'b' overlap"},
    {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
     "xyz", "1 bytes before the data of tensor 'b'"},
};

class SafetensorsRefusal : public ::testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsRefusal, NamesTheFaultAndTheFile) {
  const std::string message = refusal(safetensors_file(GetParam().header, GetParam().data));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_THAT(message, HasSubstr("x.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsRefusal, ::testing::ValuesIn(kBadHeaders));

TEST(Safetensors, RefusesABadLengthBeforeUsingIt) {
  EXPECT_THAT(refusal("1234"), HasSubstr("8 bytes or more, found 4"));
  EXPECT_THAT(refusal(length_prefix(0)), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(refusal(length_prefix(100'000'001) + "{}"), HasSubstr("100000001 bytes, the limit is 100000000"));
  EXPECT_THAT(refusal(length_prefix(3) + "{}"), HasSubstr("should have 3 bytes, but only 2 follow"));
  EXPECT_THAT(refusal(length_prefix(UINT64_MAX) + "{}"), HasSubstr("the limit is"));
  EXPECT_THAT(refusal(safetensors_file("{}\0garbage"s, "")), HasSubstr("NUL"));
}

TEST(Safetensors, NamesOfAFileCannotSpoilAMessage) {
  EXPECT_THAT(refusal(safetensors_file("{\"a\\n\\u001b[31m\":3}", "")),
              HasSubstr(R"(tensor 'a\x0a\x1b[31m': expected)"));
  EXPECT_LT(refusal(safetensors_file("{\"" + std::string(100'000, 'n') + "\":3}", "")).size(), 700u);
}

TEST(Safetensors, KnowsWhatIsOftenGivenInItsPlace) {
  EXPECT_THAT(refusal("\n\n <!DOCTYPE HTML><html>...</html>"), HasSubstr("a web page"));
  EXPECT_THAT(refusal("<html><body>Please log in</body></html>"), HasSubstr("a web page"));
  EXPECT_THAT(refusal("<?xml version=\"1.0\"?><Error>"), HasSubstr("an XML page"));
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 4\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(refusal("PK\x03\x04\0\0\0\0\0\0 archive/data.pkl"s), HasSubstr("a zip archive"));
  EXPECT_THAT(refusal("\x80\x02}q\x01(X\x06..."), HasSubstr("a Python pickle"));
  EXPECT_THAT(refusal("GGUF\x03\0\0\0\0\0\0\0"s), HasSubstr("a GGUF file"));
}

TEST(Safetensors, RefusesPathsThatAreNoFiles) {
  const TempFolder folder;
  const auto open = [](const std::filesystem::path& path) {
    return error_of(ErrorCode::bad_file, [&] { open_safetensors(path); });
  };
  EXPECT_THAT(open(folder / "nowhere"), HasSubstr("nowhere: no such file"));
  EXPECT_THAT(open(folder.path()), HasSubstr("expected a file, found a folder"));
  EXPECT_THAT(open(folder.file("empty", "")), HasSubstr("the file is empty"));
  EXPECT_THAT(open("/dev/null"), HasSubstr("found a device or a pipe"));
  EXPECT_THAT(open(folder.file("plain", "x") / "y"), HasSubstr("cannot open the file: Not a directory"));
}

// A damaged file may still be a valid one; it must never be anything else than that or an Error.
void parse_damaged(const std::string& file) {
  try {
    const SafetensorsHeader header = parse_safetensors(as_bytes(file), "damaged");
    for (const TensorInfo& info : header.tensors) {
      ASSERT_LE(info.begin, info.end);
      ASSERT_LE(info.end, file.size());
    }
  } catch (const Error& error) { ASSERT_EQ(error.code(), ErrorCode::bad_file) << error.what(); }
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string whole = valid_file();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);  // an allocation of its own, so that ASan sees reads behind it
    EXPECT_THROW(parse_safetensors(as_bytes(cut), "cut"), Error) << size;
  }
}

TEST(Safetensors, SurvivesByteFlips) {
  const std::string whole = valid_file();
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = whole;
    const int flips = 1 + static_cast<int>(random() % 3);
    for (int flip = 0; flip < flips; ++flip) damaged[random() % damaged.size()] = static_cast<char>(random());
    parse_damaged(damaged);
  }
  for (size_t position = 0; position < whole.size(); ++position) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[position] = static_cast<char>(damaged[position] ^ 1 << bit);
      parse_damaged(damaged);
    }
  }
}

}  // namespace
}  // namespace fx
