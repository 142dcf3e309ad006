#include "lora/messages.h"

#include <fmt/format.h>

#include <algorithm>

namespace fx {

std::string in_quotes(std::string_view name) {
  constexpr size_t kLongest = 160;
  std::string text(name.substr(0, kLongest));
  std::ranges::replace_if(text, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }, '?');
  return fmt::format("'{}{}'", text, name.size() > kLongest ? "..." : "");
}

std::string listed(const std::vector<std::string>& names, size_t shown) {
  std::string text;
  for (size_t i = 0; i < std::min(shown, names.size()); ++i) text += (i ? ", " : "") + in_quotes(names[i]);
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

}  // namespace fx
