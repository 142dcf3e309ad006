// Adapters by name: what users keep in folders, and call "ink" in a prompt.
//
// The name of an adapter is that of its file without ".safetensors", or that of its folder where the file is a PEFT
// folder's adapter_model.safetensors. Folders in front of it may be given too ("styles/ink").
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fx {

class AdapterFolders {
 public:
  AdapterFolders() = default;
  // Looks through the folders and all below. Throws bad_file for one that cannot be read.
  explicit AdapterFolders(const std::vector<std::filesystem::path>& folders);

  // A single file, under its own name. The same file again changes nothing.
  void add(const std::filesystem::path& file);

  // The file of that name. Upper and lower case are told apart only where it matters. Throws invalid_argument for an
  // unknown name, with those most like it, and for one that several files have, with all of them.
  std::filesystem::path find(std::string_view name) const;

  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::string name;  // with the folders below the one that was given: "styles/ink"
    std::filesystem::path file;
  };
  bool knows(const std::filesystem::path& file) const;
  std::vector<const Entry*> matches(std::string_view name, bool any_case) const;
  std::string near_matches(std::string_view name) const;

  std::vector<Entry> entries_;
  std::vector<std::filesystem::path> folders_;
};

// Characters to insert, remove, replace or exchange with a neighbour to get from one text to the other.
size_t edit_distance(std::string_view from, std::string_view to);

}  // namespace fx
