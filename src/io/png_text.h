// Latin-1 (which PNG's older text chunks hold) and UTF-8 (which all of fluxswap speaks).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fx {

// nullopt when `utf8` has a character that Latin-1 lacks. Throws invalid_argument, naming `what`, if it is not UTF-8.
std::optional<std::string> utf8_to_latin1(std::string_view utf8, std::string_view what);

std::string latin1_to_utf8(std::string_view latin1);

}  // namespace fx
