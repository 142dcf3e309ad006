// TensorSource over one mapped safetensors file, or over all shards of an index.
#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "io/json_file.h"
#include "io/mmap_file.h"
#include "io/printable.h"
#include "io/safetensors.h"

namespace fx {
namespace {

namespace fs = std::filesystem;

class SafetensorsSource final : public TensorSource {
 public:
  explicit SafetensorsSource(fs::path path) : path_(std::move(path)) {}

  void add_file(const fs::path& path) {
    files_.emplace_back(path);
    SafetensorsHeader header = parse_safetensors(files_.back().bytes(), path.string());
    for (TensorInfo& info : header.tensors) {
      info.part = static_cast<uint32_t>(files_.size() - 1);
      const auto [known, added] = index_.emplace(info.name, tensors_.size());
      if (!added) {
        fail(ErrorCode::bad_file, "{}: tensor '{}' is also in {}", path.string(), printable(info.name),
             files_[tensors_[known->second].part].path().filename().string());
      }
      tensors_.push_back(std::move(info));
    }
    metadata_.merge(header.metadata);
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto found = index_.find(std::string(name));
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }
  std::span<const std::byte> bytes(const TensorInfo& info) const override {
    return files_[info.part].bytes().subspan(info.begin, info.end - info.begin);
  }
  void release(const TensorInfo& info) const noexcept override { files_[info.part].advise_done(bytes(info)); }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const fs::path& path() const override { return path_; }

 private:
  fs::path path_;
  std::vector<MmapFile> files_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// "a, b, c and 7 more"
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 10;
  const size_t shown = std::min(names.size(), kShown);
  std::string text;
  for (size_t i = 0; i < shown; ++i) text += (i ? ", " : "") + printable(names[i]);
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

WeightMap read_weight_map(const fs::path& index) {
  const nlohmann::json json = read_json_file(index);
  const auto found = json.find("weight_map");
  check(json.is_object() && found != json.end() && found->is_object() && !found->empty(), ErrorCode::bad_file,
        "{}: expected a 'weight_map' from tensor names to file names", index.string());
  WeightMap weight_map;
  for (const auto& [tensor, shard] : found->items()) {
    check(shard.is_string(), ErrorCode::bad_file, "{}: weight_map: expected a file name for '{}', found {}",
          index.string(), printable(tensor), shard.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    const auto name = shard.get<std::string>();
    const bool plain = !name.empty() && name != "." && name != ".." &&
                       name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    check(plain, ErrorCode::bad_file, "{}: weight_map: '{}' is in '{}', which is not the name of a file in this folder",
          index.string(), printable(tensor), printable(name));
    weight_map.emplace(tensor, name);
  }
  return weight_map;
}

// The two questions of std::filesystem that throw nothing of their own: an unreadable path is "no".
bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::unique_ptr<TensorSource> open_index(const fs::path& index) {
  const WeightMap weight_map = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!is_file(index.parent_path() / shard)) missing.push_back(shard);
  }
  check(missing.empty(), ErrorCode::bad_file, "{}: {} of {} shards missing: {}", index.string(), missing.size(),
        shards.size(), listed(missing));
  auto source = std::make_unique<SafetensorsSource>(index);
  std::map<std::string, uint32_t> parts;
  for (const std::string& shard : shards) {
    parts.emplace(shard, static_cast<uint32_t>(parts.size()));
    source->add_file(index.parent_path() / shard);
  }
  for (const auto& [tensor, shard] : weight_map) {
    const TensorInfo* info = source->find(tensor);
    if (!info || info->part != parts.at(shard)) missing.push_back(fmt::format("'{}' (in {})", tensor, shard));
  }
  check(missing.empty(), ErrorCode::bad_file, "{}: the index promises tensors that the shards do not have: {}",
        index.string(), listed(missing));
  return source;
}

// A name that is there but is no file: a folder, a link that leads nowhere or in circles.
void refuse_no_file(const fs::path& path) {
  std::error_code error, ignored;
  const fs::file_status status = fs::status(path, error);
  if (fs::symlink_status(path, ignored).type() == fs::file_type::not_found) return;
  check(!fs::is_directory(status), ErrorCode::bad_file, "{}: expected a file, found a folder", path.string());
  fail(ErrorCode::bad_file, "{}: expected a file, found {}", path.string(),
       error ? "one that cannot be opened: " + error.message() : "a device or a pipe");
}

// Why FOLDER has no BASE.safetensors, with the cure if what lies there suggests one.
[[noreturn]] void refuse_folder(const fs::path& folder, const std::string& base_name) {
  check(!is_file(folder), ErrorCode::bad_file, "{}: expected a folder, found a file", folder.string());
  check(is_folder(folder), ErrorCode::bad_file, "{}: no such folder", folder.string());
  for (const char* ending : {".safetensors.index.json", ".safetensors"}) refuse_no_file(folder / (base_name + ending));
  std::vector<std::string> others, pickles;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const fs::path name = entry.path().filename();
    if (name.extension() == ".safetensors") others.push_back(name.string());
    if (name.extension() == ".bin" || name.extension() == ".pt") pickles.push_back(name.string());
  }
  std::sort(others.begin(), others.end());
  std::sort(pickles.begin(), pickles.end());
  std::string found = "neither is there";
  if (!pickles.empty()) found = "found only PyTorch files: " + listed(pickles) + "; convert them to .safetensors";
  if (!others.empty()) found = "found only " + listed(others);
  fail(ErrorCode::bad_file, "{}: expected {}.safetensors or {}.safetensors.index.json; {}", folder.string(), base_name,
       base_name, found);
}

}  // namespace

std::unique_ptr<TensorSource> open_safetensors(const fs::path& path) {
  auto source = std::make_unique<SafetensorsSource>(path);
  source->add_file(path);
  return source;
}

std::unique_ptr<TensorSource> open_sharded(const fs::path& folder, const std::string& base_name) {
  const fs::path single = folder / (base_name + ".safetensors");
  const fs::path index = folder / (base_name + ".safetensors.index.json");
  if (is_file(index)) return open_index(index);
  if (is_file(single)) return open_safetensors(single);
  refuse_folder(folder, base_name);
}

}  // namespace fx
