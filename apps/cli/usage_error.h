// A command line that is wrong: exit status 2.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace fx::cli {

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws UsageError with the formatted message unless `condition` holds.
template <class... Args>
void expect(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fx::cli
