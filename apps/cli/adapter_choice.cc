#include "adapter_choice.h"

#include <algorithm>

#include "core/error.h"
#include "lora/tags.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

namespace fs = std::filesystem;

bool is_there(const Path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool same_file(const Path& one, const Path& other) {
  std::error_code ignored;
  return one == other || fs::equivalent(one, other, ignored);
}

}  // namespace

Path adapter_file(const Path& path) {
  std::error_code ignored;
  const Path inside = path / "adapter_model.safetensors";
  return fs::is_directory(path, ignored) && is_there(inside) ? inside : path;
}

AdapterChooser::AdapterChooser(const AdapterOptions& options)
    : folders_(options.folders), searched_(!options.folders.empty()), merge_(options.merge), beside_(options.beside) {}

Path AdapterChooser::file_of(const Path& name) const {
  if (is_there(name)) return adapter_file(name);
  check(searched_, ErrorCode::bad_file, "--lora {}: no such file", name.string());
  try {
    return folders_.find(name.extension() == ".safetensors" ? Path(name).replace_extension().string() : name.string());
  } catch (const Error& error) {
    throw UsageError(fmt::format("--lora {}: no such file, and {}", name.string(), error.what()));
  }
}

AdapterSettings AdapterChooser::with_options(AdapterSettings settings) const {
  settings.merge = merge_;
  settings.beside = beside_;
  return settings;
}

std::vector<AdapterChoice> AdapterChooser::files_of(const std::vector<AdapterChoice>& choices) {
  std::vector<AdapterChoice> resolved;
  for (const AdapterChoice& choice : choices) {
    resolved.push_back({file_of(choice.file), with_options(choice.settings)});
    folders_.add(resolved.back().file);
  }
  return resolved;
}

std::vector<AdapterChoice> AdapterChooser::take_tags(std::string& prompt) const {
  TaggedPrompt tagged = take_lora_tags(prompt);
  prompt = std::move(tagged.text);
  std::vector<AdapterChoice> choices;
  for (const LoraTag& tag : tagged.tags) {
    try {
      choices.push_back(
          {folders_.find(tag.name), with_options({.scale = tag.scale, .text_encoder_scale = tag.text_encoder_scale})});
    } catch (const Error& error) { fail(error.code(), "{}: {}", to_string(tag), error.what()); }
  }
  return choices;
}

std::vector<AdapterChoice> combined(std::vector<AdapterChoice> adapters, const std::vector<AdapterChoice>& tags) {
  const size_t given = adapters.size();
  for (const AdapterChoice& tag : tags) {
    const auto end = adapters.begin() + static_cast<ptrdiff_t>(given);
    const auto known =
        std::find_if(adapters.begin(), end, [&](const auto& adapter) { return same_file(adapter.file, tag.file); });
    if (known == end) {
      adapters.push_back(tag);
    } else {
      known->settings.scale = tag.settings.scale;
      known->settings.text_encoder_scale = tag.settings.text_encoder_scale;
    }
  }
  return adapters;
}

void resolve(AdapterOptions& options, std::string& prompt) {
  AdapterChooser chooser(options);
  const std::vector<AdapterChoice> files = chooser.files_of(options.choices);
  options.choices = combined(files, chooser.take_tags(prompt));
}

void resolve(AdapterOptions& options) { options.choices = AdapterChooser(options).files_of(options.choices); }

}  // namespace fx::cli
