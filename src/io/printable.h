// Text from files in messages.
#pragma once

#include <string>
#include <string_view>

namespace fx {

// `untrusted` fit for one line of a message: control characters and what is not UTF-8 become \xNN, and what goes beyond about `limit` bytes
// is cut.
std::string printable(std::string_view untrusted, size_t limit = 200);

}  // namespace fx
