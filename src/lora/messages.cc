#include "lora/messages.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/printable.h"

namespace fx {

std::string in_quotes(std::string_view name) { return fmt::format("'{}'", printable(name)); }

std::string listed(const std::vector<std::string>& names, size_t shown) {
  std::string text;
  for (size_t i = 0; i < std::min(shown, names.size()); ++i) text += (i ? ", " : "") + in_quotes(names[i]);
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

}  // namespace fx
