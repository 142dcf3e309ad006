// Which adapters a command uses: from --lora, from --lora-dir, and from the tags of its prompt.
#pragma once

#include <string>
#include <vector>

#include "lora/adapter_folders.h"
#include "options.h"

namespace fx::cli {

// The file itself; of a PEFT folder, the adapter in it.
Path adapter_file(const Path& path);

class AdapterChooser {
 public:
  // Looks through the folders of the options.
  explicit AdapterChooser(const AdapterOptions& options);

  // Names become files, folders of PEFT the file in them. Throws UsageError for a name that is unknown in the folders;
  // Error(bad_file) for a file that does not exist, where no folder was given.
  std::vector<AdapterChoice> files_of(const std::vector<AdapterChoice>& choices);

  // Takes the tags out of a prompt. Throws Error(invalid_argument) for a malformed tag or a name that is unknown in the
  // folders and among the files seen by files_of.
  std::vector<AdapterChoice> take_tags(std::string& prompt) const;

 private:
  Path file_of(const Path& name) const;
  AdapterSettings with_options(AdapterSettings settings) const;

  AdapterFolders folders_;
  bool searched_, merge_, beside_;
};

// Adapters and those of a prompt's tags, which act besides; a tag of an adapter that is among them gives it other scales.
std::vector<AdapterChoice> combined(std::vector<AdapterChoice> adapters, const std::vector<AdapterChoice>& tags);

// All files and the prompt's tags resolved; to be called before anything is loaded.
void resolve(AdapterOptions& options, std::string& prompt);
void resolve(AdapterOptions& options);

}  // namespace fx::cli
