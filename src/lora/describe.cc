#include "lora/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "lora/messages.h"

namespace fx {
namespace {

// "transformer_blocks.7.attn.to_q" -> "transformer_blocks.*.attn.to_q"
std::string without_index(const std::string& module) {
  for (size_t dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1)) {
    const size_t end = module.find_first_not_of("0123456789", dot + 1);
    if (end != std::string::npos && end > dot + 1 && module[end] == '.') {
      return module.substr(0, dot + 1) + "*" + module.substr(end);
    }
  }
  return module;
}

// Separated by commas.
void add_trigger_words(AdapterReport& report, const std::string& field) {
  const auto found = report.metadata.find(field);
  if (found == report.metadata.end()) return;
  std::istringstream words(found->second);
  for (std::string word; std::getline(words, word, ',');) {
    const size_t begin = word.find_first_not_of(' '), end = word.find_last_not_of(' ');
    if (begin != std::string::npos) note(report.trigger_words, word.substr(begin, end - begin + 1));
  }
}

void warn_of_other_architecture(AdapterReport& report, const std::string& field) {
  const auto found = report.metadata.find(field);
  if (found == report.metadata.end()) return;
  std::string value = found->second;
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto has = [&](const char* part) { return value.find(part) != std::string::npos; };
  if (has("flux") && !has("flux2") && !has("flux-2")) return;
  note(report.warnings,
       fmt::format("its metadata say that it was made for another model ({} is {})", field, in_quotes(value)));
}

}  // namespace

void describe(AdapterFile& file) {
  AdapterReport& report = file.report;
  for (const FileModule& module : file.modules) {
    ++report.ranks[module.rank];
    ++report.modules[module.component];
    ++report.targets[std::string(name(module.component)) + "." + without_index(module.module)];
  }
  for (const char* field : {"trigger_words", "trigger_word", "trigger_phrase", "modelspec.trigger_phrase"}) {
    add_trigger_words(report, field);
  }
  warn_of_other_architecture(report, "modelspec.architecture");
  warn_of_other_architecture(report, "ss_base_model_version");
  if (std::ranges::any_of(report.ignored, [](const auto& key) { return key.starts_with("bundle_emb."); })) {
    note(report.warnings, "the file carries a trained embedding for a trigger word, which is not used");
  }
}

void note(std::vector<std::string>& list, std::string_view entry) {
  if (std::ranges::find(list, entry) == list.end()) list.emplace_back(entry);
}

}  // namespace fx
