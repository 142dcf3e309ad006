// grid and model inspect.
#include "cli_fixture.h"
#include "io/png.h"

namespace fx::test {
namespace {

class GridTest : public CliTest {
 protected:
  const std::string all_ = (kGolden / "tiny-schnell/loras/all-linears.safetensors").string();
  Arguments grid(const Arguments& more) const {
    Arguments all = {"grid",
                     "--model",
                     model_.string(),
                     "--max-sequence-length",
                     "24",
                     "--width",
                     "40",
                     "--height",
                     "48",
                     "--steps",
                     "2",
                     "--seed",
                     "7",
                     "--out",
                     path("sheet.png")};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(GridTest, ALineForEachImage) {
  const std::string out =
      expect_success(grid({"--prompt", "a star", "[b, c]", "--prompt", "{}", "--lora", lora_.string() + ":0.5", all_}));
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 10);  // 3 x 3, and the sheet
  for (const char* part :
       {"\"a star\"  no adapter", "\"[b, c]\"  attention:0.5", "\"{}\"  all-linears", "s/step", "swap"}) {
    EXPECT_THAT(out, ::testing::HasSubstr(part));
  }
  const PngFile sheet = read_png(temp_ / "sheet.png");
  EXPECT_GT(sheet.image.width, 3 * 40);
  EXPECT_GT(sheet.image.height, 3 * 48);
  const std::string& text = sheet.text.at("parameters");
  for (const char* part : {"Prompt 2: [b, c]", "Adapter 2: attention:0.5", "Seed: 7", "Model hash: "}) {
    EXPECT_THAT(text, ::testing::HasSubstr(part));
  }
}

// The pictures in the sheet are those that generate makes: swapping leaves nothing behind.
TEST_F(GridTest, CellsEqualSinglePictures) {
  expect_success(grid({"--prompt", "a star", "--lora", lora_.string(), all_ + ":0.5+" + lora_.string()}));
  const Image sheet = read_png(temp_ / "sheet.png").image;
  const std::vector<Arguments> columns = {
      {}, {"--lora", lora_.string()}, {"--lora", all_ + ":0.5", "--lora", lora_.string()}};
  for (size_t column = 0; column < columns.size(); ++column) {
    Arguments more = {"--prompt", "a star", "--height", "48"};
    more.insert(more.end(), columns[column].begin(), columns[column].end());
    expect_success(generate(more));
    const Image single = read_png(temp_ / "out.png").image;
    const size_t left = static_cast<size_t>(sheet.width) - (3 - column) * 48,
                 top = static_cast<size_t>(sheet.height) - 56;
    for (size_t y = 0; y < 48; ++y) {
      const auto* row = sheet.rgb.data() + 3 * ((top + y) * static_cast<size_t>(sheet.width) + left);
      ASSERT_TRUE(std::equal(row, row + 3 * 40, single.rgb.data() + 3 * 40 * y)) << column << " " << y;
    }
  }
}

TEST_F(GridTest, JsonIsOneObject) {
  const auto json =
      nlohmann::json::parse(expect_success(grid({"--prompt", "a", "b", "--lora", lora_.string(), "--json"})));
  EXPECT_EQ(json.at("images").size(), 4u);
  EXPECT_EQ(json.at("images").at(1).at("adapter"), "attention");
  EXPECT_FALSE(json.at("images").at(1).at("swap").at("slots_grew"));  // room was made before the first picture
  EXPECT_EQ(json.at("graph_captures"), 0);
}

TEST_F(GridTest, BadRequests) {
  expect_failure(1, grid({"--prompt", "a", "--lora", path("nowhere.safetensors")}), {"nowhere.safetensors"});
  expect_failure(1, grid({"--prompt", "a", "\xff"}), {"UTF-8"});
  expect_failure(2,
                 {"grid", "--model", model_.string(), "--prompt", "a", "--width", "8192", "--height", "8192", "--lora",
                  lora_.string(), lora_.string(), lora_.string(), lora_.string(), "--out", path("s.png")},
                 {"pixels"});
}

TEST_F(GridTest, ModelInspect) {
  const auto json = nlohmann::json::parse(expect_success({"model", "inspect", model_.string(), "--json"}));
  EXPECT_EQ(json.at("defaults").at("steps"), 4);  // no guidance embedding
  EXPECT_EQ(json.at("defaults").at("width"), 64);
  EXPECT_EQ(json.at("size_multiple"), 8);
  int64_t parameters = 0;
  for (const auto& component : json.at("components")) parameters += component.at("parameters").get<int64_t>();
  EXPECT_EQ(json.at("parameters"), parameters);
  EXPECT_EQ(json.at("f32_bytes"), 4 * parameters);
  EXPECT_THAT(expect_success({"model", "inspect", model_.string()}),
              ::testing::HasSubstr("2 double and 2 single blocks"));
  expect_failure(1, {"model", "inspect", path("nowhere")}, {"nowhere"});
}

}  // namespace
}  // namespace fx::test
