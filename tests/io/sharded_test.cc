#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "io/safetensors_files.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using test::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using test::safetensors_file;
using test::TempFolder;

std::string one_tensor(const std::string& name, char value) {
  return safetensors_file(R"({"__metadata__":{"of )" + name + R"(":"yes"},")" + name +
                              R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                          std::string(1, value));
}

struct ShardedFolder : TempFolder {
  ShardedFolder() {
    file("model-00001-of-00002.safetensors", one_tensor("a", 'A'));
    file("model-00002-of-00002.safetensors", one_tensor("b", 'B'));
    index(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
  }
  void index(const std::string& weight_map) const {
    file("model.safetensors.index.json", R"({"metadata":{"total_size":2},"weight_map":)" + weight_map + "}");
  }
  std::string refusal() const {
    return error_of(ErrorCode::bad_file, [&] { open_sharded(path(), "model"); });
  }
};

TEST(Sharded, ReadsAllShardsOfAnIndex) {
  const ShardedFolder folder;
  const auto source = open_sharded(folder.path(), "model");
  EXPECT_THAT(source->names(), ElementsAre("a", "b"));
  for (const TensorInfo& info : source->tensors()) {
    EXPECT_EQ(static_cast<char>(source->bytes(info)[0]), info.name == "a" ? 'A' : 'B');
    source->release(info);
  }
  EXPECT_EQ(source->metadata().size(), 2u);
  EXPECT_EQ(source->path().filename(), "model.safetensors.index.json");
}

TEST(Sharded, ReadsASingleFileWithoutAnIndex) {
  const TempFolder folder;
  folder.file("diffusion_pytorch_model.safetensors", one_tensor("a", 'A'));
  EXPECT_THAT(open_sharded(folder.path(), "diffusion_pytorch_model")->names(), ElementsAre("a"));
}

TEST(Sharded, NamesMissingShards) {
  const ShardedFolder folder;
  std::filesystem::remove(folder / "model-00002-of-00002.safetensors");
  EXPECT_THAT(folder.refusal(), HasSubstr("1 of 2 shards missing: model-00002-of-00002.safetensors"));
}

TEST(Sharded, ShortensLongLists) {
  const ShardedFolder folder;
  std::string map = "{";
  for (int i = 10; i < 30; ++i) map += fmt::format(R"({}"t{}":"s{}.safetensors")", i > 10 ? "," : "", i, i);
  folder.index(map + "}");
  EXPECT_THAT(folder.refusal(), AllOf(HasSubstr("s19.safetensors and 10 more"), Not(HasSubstr("s20"))));
}

TEST(Sharded, NamesTensorsThatTheShardsLack) {
  const ShardedFolder folder;
  folder.index(R"({"a":"model-00002-of-00002.safetensors","b":"model-00002-of-00002.safetensors",)"
               R"("c":"model-00001-of-00002.safetensors"})");
  EXPECT_THAT(folder.refusal(), AllOf(HasSubstr("'a' (in model-00002-of-00002.safetensors)"),
                                      HasSubstr("'c' (in model-00001-of-00002.safetensors)"), Not(HasSubstr("'b'"))));
}

TEST(Sharded, RefusesATensorInTwoShards) {
  const ShardedFolder folder;
  folder.file("model-00002-of-00002.safetensors", one_tensor("a", 'B'));
  EXPECT_THAT(folder.refusal(), HasSubstr("tensor 'a' is also in model-00001-of-00002.safetensors"));
}

TEST(Sharded, NeverLeavesTheFolder) {
  const ShardedFolder folder;
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "..", ".", "", "sub/x.safetensors", "a\\\\b", "a\\u0000b"}) {
    folder.index(fmt::format(R"({{"a":"{}"}})", name));
    EXPECT_THAT(folder.refusal(), HasSubstr("which is not the name of a file in this folder")) << name;
  }
}

TEST(Sharded, RefusesABadIndex) {
  const ShardedFolder folder;
  for (const char* map : {"{}", "[]", "3", "null"}) {
    folder.index(map);
    EXPECT_THAT(folder.refusal(), HasSubstr("expected a 'weight_map'")) << map;
  }
  folder.index(R"({"a":7})");
  EXPECT_THAT(folder.refusal(), HasSubstr("expected a file name for 'a', found 7"));
  folder.file("model.safetensors.index.json", "[]");
  EXPECT_THAT(folder.refusal(), HasSubstr("expected a 'weight_map'"));
  folder.file("model.safetensors.index.json", "{");
  EXPECT_THAT(folder.refusal(), HasSubstr("expected JSON"));
}

TEST(Sharded, SaysWhatAFolderHasInstead) {
  const TempFolder folder;
  const auto refusal = [&](const std::filesystem::path& path) {
    return error_of(ErrorCode::bad_file, [&] { open_sharded(path, "model"); });
  };
  EXPECT_THAT(refusal(folder.path()), HasSubstr("expected model.safetensors or model.safetensors.index.json; neither"));
  EXPECT_THAT(refusal(folder / "nowhere"), HasSubstr("no such folder"));
  EXPECT_THAT(refusal(folder.file("file", "x")), HasSubstr("expected a folder, found a file"));
  folder.file("pytorch_model.bin", "x");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("only PyTorch files: pytorch_model.bin; convert them to .safetensors"));
  folder.file("model.fp16.safetensors", "x");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("found only model.fp16.safetensors"));
  std::filesystem::create_directory(folder / "model.safetensors");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("model.safetensors: expected a file, found a folder"));
  for (const auto& [target, why] : {std::pair{"model.safetensors", "symbolic links"}, {"gone", "No such file"}}) {
    std::filesystem::remove(folder / "model.safetensors");
    std::filesystem::create_symlink(target, folder / "model.safetensors");
    EXPECT_THAT(refusal(folder.path()), HasSubstr(why));
  }
}

}  // namespace
}  // namespace fx
