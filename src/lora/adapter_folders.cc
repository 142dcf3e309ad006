#include "lora/adapter_folders.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <system_error>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kEnding = ".safetensors", kPeftFile = "adapter_model.safetensors";
constexpr size_t kNearMatches = 3;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

bool is_adapter(const fs::path& path) { return lower(path.extension().string()) == kEnding; }

// Relative to `folder`; an adapter that is alone in the given folder itself is called as the folder.
std::string name_of(const fs::path& file, const fs::path& folder) {
  const fs::path relative = file.lexically_relative(folder);
  if (relative.filename() != kPeftFile) return fs::path(relative).replace_extension().generic_string();
  if (relative.has_parent_path()) return relative.parent_path().generic_string();
  return fs::weakly_canonical(folder).filename().generic_string();
}

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

AdapterFolders::AdapterFolders(const std::vector<fs::path>& folders) : folders_(folders) {
  for (const fs::path& folder : folders) {
    std::error_code error;
    check(fs::is_directory(folder, error), ErrorCode::bad_file, "{}: expected a folder of adapters, found {}",
          folder.string(), fs::exists(folder, error) ? "a file" : "nothing of that name");
    fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end;
    for (; !error && entry != end; entry.increment(error)) {
      std::error_code ignored;
      if (!is_adapter(entry->path()) || !entry->is_regular_file(ignored) || knows(entry->path())) continue;
      entries_.push_back({name_of(entry->path(), folder), entry->path()});
    }
    check(!error, ErrorCode::bad_file, "{}: cannot look through the folder: {}", folder.string(), error.message());
  }
  std::ranges::sort(entries_, {}, &Entry::file);
}

void AdapterFolders::add(const fs::path& file) {
  if (knows(file)) return;
  const fs::path absolute = fs::absolute(file);
  entries_.push_back({std::string(last_part(name_of(absolute, absolute.root_path()))), file});
}

bool AdapterFolders::knows(const fs::path& file) const {
  std::error_code ignored;
  return std::ranges::any_of(entries_, [&](const Entry& entry) { return fs::equivalent(entry.file, file, ignored); });
}

std::vector<const AdapterFolders::Entry*> AdapterFolders::matches(std::string_view name, bool any_case) const {
  const auto spelled = [&](std::string_view text) { return any_case ? lower(text) : std::string(text); };
  const std::string wanted = spelled(name);
  std::vector<const Entry*> whole, part;  // "ink" itself goes before that of "styles/ink"
  for (const Entry& entry : entries_) {
    const std::string known = spelled(entry.name);
    if (known == wanted) whole.push_back(&entry);
    else if (known.ends_with("/" + wanted)) part.push_back(&entry);
  }
  return whole.empty() ? part : whole;
}

fs::path AdapterFolders::find(std::string_view name) const {
  std::vector<const Entry*> found = matches(name, false);
  if (found.empty()) found = matches(name, true);
  check(!found.empty(), ErrorCode::invalid_argument, "there is no adapter {}{}", in_quotes(name), near_matches(name));
  std::vector<std::string> files;
  for (const Entry* entry : found) files.push_back(entry->file.string());
  check(found.size() == 1, ErrorCode::invalid_argument,
        "adapter {}: expected one file of that name, found {}: {}; more of the path tells them apart", in_quotes(name),
        files.size(), listed(files, files.size()));
  return found.front()->file;
}

std::string AdapterFolders::near_matches(std::string_view name) const {
  if (entries_.empty()) {
    return folders_.empty() ? "; give the folder in which to look (--lora-dir DIR)"
                            : "; there is no .safetensors file in the folders given";
  }
  std::vector<std::pair<size_t, std::string>> near;
  const std::string wanted = lower(last_part(name));
  for (const Entry& entry : entries_) {
    const std::string other = lower(last_part(entry.name));
    const size_t distance = other.find(wanted) != std::string::npos ? 1 : edit_distance(wanted, other);
    if (distance <= std::max<size_t>(2, wanted.size() / 3)) near.emplace_back(distance, entry.name);
  }
  std::ranges::sort(near);
  near.erase(std::unique(near.begin(), near.end()), near.end());
  std::vector<std::string> names;
  for (const auto& [distance, other] : near) names.push_back(other);
  if (!names.empty()) {
    if (names.size() > kNearMatches) names.resize(kNearMatches);
    return "; near matches: " + listed(names, kNearMatches);
  }
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return fmt::format("; known are {}", listed(names, 8));
}

size_t edit_distance(std::string_view from, std::string_view to) {
  // The rows for two, one and none of the last characters of `from`.
  std::array<std::vector<size_t>, 3> rows;
  rows.fill(std::vector<size_t>(to.size() + 1));
  for (size_t j = 0; j <= to.size(); ++j) rows[2][j] = j;
  for (size_t i = 1; i <= from.size(); ++i) {
    std::rotate(rows.begin(), rows.begin() + 1, rows.end());
    rows[2][0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      const size_t replaced = rows[1][j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
      rows[2][j] = std::min({rows[1][j] + 1, rows[2][j - 1] + 1, replaced});
      const bool exchanged = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
      if (exchanged) rows[2][j] = std::min(rows[2][j], rows[0][j - 2] + 1);
    }
  }
  return rows[2][to.size()];
}

}  // namespace fx
