#include "io/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/png_text.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using namespace std::string_literals;
using test::error_of;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using test::read_all;
using test::TempFolder;

Image gradient(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height * 3; ++i) image.rgb.push_back(static_cast<uint8_t>(i * 37 + i / 251));
  return image;
}

TEST(Png, PixelsAndTextReadBackTheSame) {
  const TempFolder folder;
  const Image image = gradient(33, 17);
  const PngText text = {{"parameters", "a red star\nSteps: 4, Seed: 1"},
                        {"Title", "f\u00fcr Latin-1"},
                        {"unicode", "\u661f \U0001f31f"},
                        {"empty", ""}};
  write_png(folder / "a.png", image, text);
  const PngFile read = read_png(folder / "a.png");
  EXPECT_EQ(read.image.width, 33);
  EXPECT_EQ(read.image.height, 17);
  EXPECT_EQ(read.image.rgb, image.rgb);
  EXPECT_EQ(read.text, text);
  EXPECT_EQ(folder.names().size(), 1u);

  const std::string bytes = read_all(folder / "a.png");
  EXPECT_THAT(bytes, HasSubstr("tEXtparameters\0a red star"s));
  EXPECT_THAT(bytes, HasSubstr("iTXtunicode\0"s));
  write_png(folder / "b.png", image, text);
  EXPECT_EQ(read_all(folder / "b.png"), bytes) << "the same picture gives the same file";
}

TEST(Png, RefusesBadPixelsAndTexts) {
  const TempFolder folder;
  const auto refusal = [&](const Image& image, const PngText& text) {
    return error_of(ErrorCode::invalid_argument, [&] { write_png(folder / "a.png", image, text); });
  };
  Image wrong = gradient(4, 4);
  wrong.width = 5;
  EXPECT_THAT(refusal(wrong, {}), HasSubstr("a picture of 5 x 4 cannot have 48 bytes"));
  EXPECT_THAT(refusal(Image{}, {}), HasSubstr("a picture of 0 x 0"));
  const Image good = gradient(4, 4);
  for (const std::string& keyword : std::vector<std::string>{"", "\u661f", "a\nb", std::string(80, 'k')}) {
    EXPECT_THAT(refusal(good, {{keyword, "x"}}), HasSubstr("expected 1 to 79 printable Latin-1 characters"));
  }
  EXPECT_THAT(refusal(good, {{"k", "a\0b"s}}), HasSubstr("must not have a NUL"));
  EXPECT_THAT(refusal(good, {{"k", "caf\xe9"}}),
              HasSubstr("PNG text 'k': expected UTF-8, found another encoding at byte 3"));
  EXPECT_THAT(refusal(gradient(1'000'001, 1), {}), HasSubstr("cannot encode the picture"));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(Png, FailedWritesAreErrors) {
  const TempFolder folder;
  EXPECT_THAT(error_of(ErrorCode::device, [&] { write_png("/dev/full", gradient(64, 64)); }),
              HasSubstr("cannot write /dev/full: No space left on device"));
  EXPECT_THAT(error_of(ErrorCode::device, [&] { write_png(folder / "no/a.png", gradient(4, 4)); }),
              HasSubstr("the folder does not exist"));
}

TEST(Png, EveryTruncationIsAnError) {
  const TempFolder folder;
  write_png(folder / "a.png", gradient(9, 5), {{"k", "v"}});
  const std::string whole = read_all(folder / "a.png");
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto path = folder.file("cut.png", std::string_view(whole).substr(0, size));
    EXPECT_THROW(read_png(path), Error) << size;
  }
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { read_png(folder.file("x.png", "not a picture")); }),
              HasSubstr("x.png: cannot read the PNG file: Not a PNG file"));
  std::string damaged = whole;
  damaged[whole.find("IDAT") + 8] ^= 1;
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { read_png(folder.file("y.png", damaged)); }),
              HasSubstr("y.png: cannot read the PNG file"));
}

TEST(PngText, Latin1AndUtf8) {
  EXPECT_EQ(utf8_to_latin1("a\u00ff", "t"), "a\xff");
  EXPECT_EQ(utf8_to_latin1("\u0100", "t"), std::nullopt);
  EXPECT_EQ(latin1_to_utf8("a\xff"), "a\u00ff");
  // Overlong, surrogate, beyond Unicode, stray and missing continuation bytes.
  for (const char* bad : {"\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80", "\x80",
                          "\xc3", "\xe2\x82", "\xf8"}) {
    EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { utf8_to_latin1(bad, "t"); }),
                HasSubstr("t: expected UTF-8"));
  }
}

}  // namespace
}  // namespace fx
