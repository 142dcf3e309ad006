// Names from untrusted files in one-line messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fx {

// printable (io/printable.h), in quotes.
std::string in_quotes(std::string_view name);

// The first few of `names`, quoted, and how many more there are.
std::string listed(const std::vector<std::string>& names, size_t shown = 3);

}  // namespace fx
