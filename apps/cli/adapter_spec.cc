#include "adapter_spec.h"

#include "usage_error.h"
#include "values.h"

namespace fx::cli {
namespace {

// A specification as far as it has been read.
struct Spec {
  AdapterChoice choice;
  bool scale = false, text_encoder_scale = false, range = false, blocks = false;  // given
};

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return !path.empty() && std::filesystem::exists(path, ignored);
}

// "0.8", and behind another one that of the text encoders.
bool read_scale(std::string_view text, Spec& spec) {
  const auto scale = find_number(text);
  if (!scale || spec.text_encoder_scale) return false;
  AdapterSettings& settings = spec.choice.settings;
  if (spec.scale) settings.text_encoder_scale = static_cast<float>(*scale);
  else settings.scale = static_cast<float>(*scale);
  (spec.scale ? spec.text_encoder_scale : spec.scale) = true;
  return true;
}

// "0.2-0.6"
bool read_range(std::string_view text, Spec& spec) {
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos || spec.range) return false;
  const auto start = find_number(text.substr(0, dash)), end = find_number(text.substr(dash + 1));
  if (!start || !end || *start < 0 || *end > 1 || *start > *end) return false;
  spec.choice.settings.steps = {*start, *end};
  return spec.range = true;
}

// "double_blocks.*=0.5,img_in=0"
bool read_blocks(std::string_view text, Spec& spec) {
  if (spec.blocks) return false;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, end - begin);
    const size_t equals = part.rfind('=');
    const auto factor = equals == std::string_view::npos ? std::nullopt : find_number(part.substr(equals + 1));
    if (!factor || equals == 0) return false;
    spec.choice.settings.blocks.push_back({std::string(part.substr(0, equals)), static_cast<float>(*factor)});
    begin = end + 1;
  }
  return spec.blocks = true;
}

struct Suffix {
  char separator;
  bool (*read)(std::string_view text, Spec& spec);
  const char* expected;
};
constexpr Suffix kSuffixes[] = {
    {':', read_scale, "a finite number of 32 bits as scale, and at most one more for the text encoders"},
    {'@', read_range, "START-END, both from 0 to 1"},
    {'~', read_blocks, "PATTERN=FACTOR, separated by commas"},
};

// From the last suffix to the first. `strict`: throws for a suffix that does not read, behind the name of a file.
Spec parse(const std::string& text, bool strict) {
  const size_t last = text.find_last_of(":@~");
  if (last == std::string::npos || last == 0) return {.choice = {.file = text}};
  const Spec before = parse(text.substr(0, last), strict);
  const bool known = is_file(before.choice.file);
  if (!known && is_file(text)) return {.choice = {.file = text}};
  for (const Suffix& suffix : kSuffixes) {
    if (suffix.separator != text[last]) continue;
    Spec spec = before;
    if (suffix.read(std::string_view(text).substr(last + 1), spec)) return spec;
    expect(!known || !strict, "--lora {}: expected {}, found '{}'", before.choice.file.string(), suffix.expected,
           text.substr(last + 1));
  }
  return {.choice = {.file = text}};
}

std::string describe(const AdapterChoice& adapter) {
  const AdapterSettings& settings = adapter.settings;
  std::string text = adapter.file.stem().string();
  if (settings.scale != 1.0f || settings.text_encoder_scale) text += fmt::format(":{}", settings.scale);
  if (settings.text_encoder_scale) text += fmt::format(":{}", *settings.text_encoder_scale);
  return text + place_and_time(settings);
}

}  // namespace

const char* const kAdapterHelp = R"(
Adapters are written FILE[:SCALE[:TE]][@START-END][~PATTERN=FACTOR,...]:
  ink.safetensors:0.8       how strongly it acts (default 1; 0 and negative numbers are allowed)
  ink.safetensors:0.8:0     the second number is for the text encoders (default the same)
  ink.safetensors@0-0.6     in this part of the denoising steps (default 0-1)
  ink.safetensors~double_blocks.*=0.5,single_blocks.3.*=0
                            so much more strongly on the layers whose name matches; * is any text, ? one
                            character, names are those of the original FLUX code or of diffusers
FILE may be a name that --lora-dir finds: of a file or of a PEFT folder, whatever the case of its letters. A prompt may have
the tags of stable-diffusion-webui, <lora:NAME>, <lora:NAME:SCALE> and <lora:NAME:TE:SCALE>: those adapters act besides; a
tag that names an adapter of --lora changes its scales.)";

AdapterChoice parse_adapter(const std::string& text) {
  expect(!text.empty() && text.find_first_of(":@~") != 0,
         "--lora: expected FILE[:SCALE[:TE_SCALE]][@START-END][~PATTERN=FACTOR,...], found '{}'", text);
  return parse(text, true).choice;
}

std::vector<AdapterChoice> parse_adapter_set(const std::string& text) {
  if (text.find('+') == std::string::npos || is_file(text) || is_file(parse(text, false).choice.file)) {
    return {parse_adapter(text)};
  }
  std::vector<AdapterChoice> set;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('+', begin), text.size());
    set.push_back(parse_adapter(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return set;
}

std::string describe_adapters(const std::vector<AdapterChoice>& adapters) {
  std::string text;
  for (const AdapterChoice& adapter : adapters) text += (text.empty() ? "" : " + ") + describe(adapter);
  return text.empty() ? "none" : text;
}

}  // namespace fx::cli
