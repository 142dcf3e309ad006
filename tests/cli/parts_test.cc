// The parts of the command line that no process is needed for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "console.h"
#include "contact_sheet.h"
#include "fold.h"
#include "font.h"
#include "progress_bar.h"
#include "support/temp_folder.h"
#include "usage_error.h"
#include "values.h"

namespace fx::cli {
namespace {

using ::testing::ElementsAre;

TEST(Values, Seeds) {
  EXPECT_EQ(parse_seed("0"), 0u);
  EXPECT_EQ(parse_seed("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(parse_seed("-1"), UINT64_MAX);
  EXPECT_THROW(parse_seed("1.5"), UsageError);
}

TEST(Console, OneLine) {
  EXPECT_EQ(one_line("a\n  b\tc\r\n"), "a   b c");
  EXPECT_EQ(valid_utf8("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(valid_utf8("caf\xe9"), "caf\xef\xbf\xbd");
}

TEST(ProgressBar, SaysHowLongItTakes) {
  EXPECT_EQ(denoise_line({Stage::denoise, 0, 4, 0}, 8), "[--------] 0/4");
  EXPECT_EQ(denoise_line({Stage::denoise, 1, 4, 30.25}, 8), "[##------] 1/4  30.2 s/step  1:31 left");
  EXPECT_EQ(denoise_line({Stage::denoise, 2, 4, 3600}, 4), "[##--] 2/4  3.6e+03 s/step  2:00:00 left");
}

TEST(Font, EveryLetterHasInkAndNoTwoAreAlike) {
  std::map<std::string, char> seen;
  for (char letter = '!'; letter <= '~'; ++letter) {
    std::string pixels;
    for (int y = 0; y < kGlyphHeight; ++y) {
      for (int x = 0; x < kGlyphWidth; ++x) pixels += glyph_pixel(letter, x, y) ? '#' : '.';
    }
    EXPECT_NE(pixels.find('#'), std::string::npos) << letter;
    EXPECT_TRUE(seen.emplace(pixels, letter).second) << letter << " looks like " << seen.at(pixels);
  }
  EXPECT_FALSE(glyph_pixel(' ', 2, 3));
  EXPECT_TRUE(glyph_pixel('\x7f', 0, 0));  // the box
}

TEST(Fold, LatinIsReadableAndTheRestIsABox) {
  EXPECT_EQ(folded("\u00e9a \u00c7at\tna\u00efve"), "ea Cat naive");
  EXPECT_EQ(folded("e\u0301"), "e");
  EXPECT_EQ(folded("Stra\u00dfe \u0141\u00f3d\u017a \u00d8re \u0152uvre"), "Strasse Lodz Ore OEuvre");
  EXPECT_EQ(folded("\u201cquoted\u201d \u2014 it\u2019s\u2026"), "\"quoted\" - it's...");
  EXPECT_EQ(folded("\u65e5\u672c \U0001F98A"), "\x7f\x7f \x7f");
  EXPECT_EQ(folded("caf\xe9"), "caf\x7f");
}

TEST(ContactSheet, WrapsLabels) {
  EXPECT_THAT(wrapped("a small red star", 10, 4), ElementsAre("a small", "red star"));
  EXPECT_THAT(wrapped("incomprehensible", 6, 9), ElementsAre("incomp", "rehens", "ible"));
  EXPECT_THAT(wrapped("one two three four", 9, 2), ElementsAre("one two", "three..."));
  EXPECT_THAT(wrapped("caf\xc3\xa9", 9, 2), ElementsAre("cafe"));
  EXPECT_THAT(wrapped("", 9, 2), ElementsAre());
  EXPECT_THAT(wrapped("   ", 9, 2), ElementsAre());
  EXPECT_THAT(wrapped("clip:-1 + single:0.25", 10, 9), ElementsAre("clip:-1 +", "single:", "0.25"));
}

TEST(ContactSheet, LabelsOfColumnsAreWhole) {
  const int64_t two_lines = ContactSheet::pixels(64, 64, 1, {"no adapter"});
  EXPECT_EQ(ContactSheet::pixels(64, 64, 1, {"ink:0.5 + clip"}), two_lines);
  EXPECT_GT(ContactSheet::pixels(64, 64, 1, {"clip:-1 + single:0.25"}), two_lines);
}

TEST(ContactSheet, PicturesAndLabelsHaveTheirPlaces) {
  ContactSheet sheet(20, 16, {"row", "another row"}, {"a", "b", "c"});
  const Image red{20, 16, [] {
                    std::vector<uint8_t> rgb(20 * 16 * 3, 0);
                    for (size_t i = 0; i < rgb.size(); i += 3) rgb[i] = 255;
                    return rgb;
                  }()};
  sheet.place(1, 2, red);
  const Image& image = sheet.image();
  EXPECT_EQ(int64_t{image.width} * image.height, ContactSheet::pixels(20, 16, 2, {"a", "b", "c"}));
  EXPECT_EQ(image.rgb.size(), static_cast<size_t>(3 * image.width * image.height));
  size_t reds = 0, inks = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    reds += image.rgb[i] == 255 && image.rgb[i + 1] == 0;
    inks += image.rgb[i] < 100;
  }
  EXPECT_EQ(reds, 20u * 16u);
  EXPECT_GT(inks, 40u);
}

}  // namespace
}  // namespace fx::cli
