#include "lora/tags.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {
namespace {

constexpr std::string_view kOpening = "<lora:", kBlanks = " \t\n\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// "0.8", ".8", "+1", "-1e-2"
float number(std::string_view text, std::string_view tag) {
  std::string_view digits = trimmed(text);
  if (digits.starts_with('+')) digits.remove_prefix(1);
  float value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  check(error == std::errc() && end == digits.data() + digits.size() && std::isfinite(value),
        ErrorCode::invalid_argument, "{}: expected a finite number as scale, found {}", in_quotes(tag),
        in_quotes(text));
  return value;
}

// `inside` is what stands between "<lora:" and ">".
LoraTag read_tag(std::string_view inside, std::string_view whole) {
  std::vector<float> scales;
  std::optional<float> te, unet;
  size_t colon = std::min(inside.find(':'), inside.size());
  LoraTag tag{.name = std::string(trimmed(inside.substr(0, colon)))};
  check(!tag.name.empty(), ErrorCode::invalid_argument, "{}: expected the name of an adapter", in_quotes(whole));
  while (colon < inside.size()) {
    const size_t end = std::min(inside.find(':', colon + 1), inside.size());
    const std::string_view part = inside.substr(colon + 1, end - colon - 1);
    if (part.starts_with("te=")) te = number(part.substr(3), whole);
    else if (part.starts_with("unet=")) unet = number(part.substr(5), whole);
    else scales.push_back(number(part, whole));
    colon = end;
  }
  check(scales.size() <= 2, ErrorCode::invalid_argument, "{}: expected at most two scales, found {}", in_quotes(whole),
        scales.size());
  if (!te && !scales.empty()) te = scales.front();
  if (!unet && !scales.empty()) unet = scales.back();
  tag.scale = unet.value_or(te.value_or(1.0f));
  if (te.value_or(1.0f) != tag.scale) tag.text_encoder_scale = te.value_or(1.0f);
  return tag;
}

// Appends so that a tag between two blanks leaves one, and one at the beginning none.
void append(std::string& text, std::string_view part, bool after_tag) {
  if (after_tag && (text.empty() || text.ends_with(' '))) {
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
  }
  text += part;
}

}  // namespace

TaggedPrompt take_lora_tags(std::string_view prompt) {
  TaggedPrompt result;
  size_t begin = 0;
  for (size_t opening = prompt.find(kOpening); opening != std::string_view::npos;
       opening = prompt.find(kOpening, begin)) {
    append(result.text, prompt.substr(begin, opening - begin), begin > 0);
    const size_t closing = prompt.find('>', opening);
    check(closing != std::string_view::npos, ErrorCode::invalid_argument, "{}: expected a '>' that closes the tag",
          in_quotes(prompt.substr(opening)));
    const size_t inside = opening + kOpening.size();
    result.tags.push_back(
        read_tag(prompt.substr(inside, closing - inside), prompt.substr(opening, closing + 1 - opening)));
    begin = closing + 1;
  }
  append(result.text, prompt.substr(begin), begin > 0);
  const bool ends_in_tag = begin > 0 && prompt.find_first_not_of(' ', begin) == std::string_view::npos;
  if (ends_in_tag) result.text.erase(result.text.find_last_not_of(' ') + 1);
  return result;
}

std::string to_string(const LoraTag& tag) {
  if (tag.text_encoder_scale) { return fmt::format("<lora:{}:{}:{}>", tag.name, *tag.text_encoder_scale, tag.scale); }
  return fmt::format("<lora:{}:{}>", tag.name, tag.scale);
}

}  // namespace fx
