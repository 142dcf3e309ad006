#include "lora/file/file_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lora/messages.h"

namespace fx {
namespace {

// A field that one trainer writes, and what it then has in it, in lower case.
struct Mark {
  std::string_view field, content, trainer;
};

// The specific first: several trainers write kohya's fields too.
constexpr std::array kMarks = {
    Mark{"software", "ai-toolkit", "ai-toolkit"},
    Mark{"software", "simpletuner", "SimpleTuner"},
    Mark{"ot_branch", "", "OneTrainer"},
    Mark{"ot_config", "", "OneTrainer"},
    Mark{"modelspec.implementation", "simpletuner", "SimpleTuner"},
    Mark{"ss_network_module", "lycoris", "kohya sd-scripts with LyCORIS"},
    Mark{"ss_sd_scripts_commit_hash", "", "kohya sd-scripts"},
    Mark{"ss_network_module", "networks.", "kohya sd-scripts"},
    Mark{"lora_adapter_metadata", "", "diffusers/PEFT"},
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

void add(std::vector<std::string>& list, const std::string& entry) {
  if (std::ranges::find(list, entry) == list.end()) list.push_back(entry);
}

// Separated by commas.
void add_words(std::vector<std::string>& words, const std::string& text) {
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) {
    const size_t begin = word.find_first_not_of(' '), end = word.find_last_not_of(' ');
    if (begin != std::string::npos) add(words, word.substr(begin, end - begin + 1));
  }
}

// kohya's ss_tag_frequency: {"folder": {"tag": in how many captions}}. A trigger word is in nearly all of them.
void add_common_tags(std::vector<std::string>& words, const std::string& text) {
  constexpr size_t kMost = 5;
  std::map<std::string, double> counts;
  const nlohmann::json folders = nlohmann::json::parse(text, nullptr, false);
  if (!folders.is_object()) return;
  for (const auto& folder : folders) {
    if (!folder.is_object()) continue;
    for (const auto& [tag, count] : folder.items()) {
      if (count.is_number()) counts[tag] += count.get<double>();
    }
  }
  std::vector<std::pair<std::string, double>> sorted(counts.begin(), counts.end());
  std::ranges::stable_sort(sorted, std::ranges::greater(), &std::pair<std::string, double>::second);
  for (size_t i = 0; i < std::min(kMost, sorted.size()); ++i) {
    if (sorted[i].second >= 0.8 * sorted[0].second) add_words(words, sorted[i].first);
  }
}

}  // namespace

std::string trainer_of(const Metadata& metadata) {
  for (const Mark& mark : kMarks) {
    const auto found = metadata.find(std::string(mark.field));
    if (found != metadata.end() && lower(found->second).find(mark.content) != std::string::npos) {
      return std::string(mark.trainer);
    }
  }
  return "";
}

std::vector<std::string> trigger_words_of(const Metadata& metadata) {
  std::vector<std::string> words;
  for (const char* field : {"trigger_words", "trigger_word", "trigger_phrase", "modelspec.trigger_phrase"}) {
    if (const auto found = metadata.find(field); found != metadata.end()) add_words(words, found->second);
  }
  if (const auto found = metadata.find("ss_tag_frequency"); found != metadata.end()) {
    add_common_tags(words, found->second);
  }
  return words;
}

std::vector<std::string> other_base_models(const Metadata& metadata) {
  std::vector<std::string> sentences;
  for (const char* field : {"modelspec.architecture", "ss_base_model_version"}) {
    const auto found = metadata.find(field);
    if (found == metadata.end()) continue;
    const std::string value = lower(found->second);
    const auto has = [&](const char* part) { return value.find(part) != std::string::npos; };
    if (has("flux") && !has("flux2") && !has("flux-2")) continue;
    sentences.push_back(
        fmt::format("its metadata say that it was made for another model ({} is {})", field, in_quotes(value)));
  }
  return sentences;
}

}  // namespace fx
