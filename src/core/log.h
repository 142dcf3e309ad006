// Messages for people, on standard error. Library code reports problems as Errors; the log is for warnings and notes
// that do not stop the work. Thread-safe.
#pragma once

#include <fmt/format.h>

#include <string>

namespace fx {

enum class LogLevel { debug, info, warning, error, off };

void set_log_level(LogLevel level);
void log(LogLevel level, const std::string& message);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace fx
