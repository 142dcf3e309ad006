// The one exception type of fluxswap. Every message says what was expected and what was found; where there is a likely
// cause, it names the cure.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace fx {

enum class ErrorCode {
  invalid_argument,  // a request that cannot be carried out as stated
  bad_file,          // a file that is missing, damaged or of another kind
  unsupported,       // valid, but not something we can run
  out_of_memory,
  device,            // a device or operating-system call failed
  cancelled,         // the user asked to stop
  internal,          // our own bug
};

const char* name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

[[noreturn]] void throw_error(ErrorCode code, const std::string& message);

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw_error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error(code) with the formatted message unless `condition` holds. The message is built only on failure.
template <class... Args>
void check(bool condition, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(code, format, std::forward<Args>(args)...);
}

}  // namespace fx
