#include "console.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace fx::cli {

void claim_standard_streams() {
  // Read-only, so that a write to a closed stream still fails. open() takes the lowest free number.
  for (int file = ::open("/dev/null", O_RDONLY); file >= 0; file = ::open("/dev/null", O_RDONLY)) {
    if (file <= 2) continue;
    ::close(file);
    return;
  }
}

void print_text(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    check(written >= 0, ErrorCode::device, "cannot write to standard output: {}", std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void print_json(const nlohmann::json& json) {
  print_text(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

void print_error(std::string_view message) {
  const std::string line = "fluxswap: error: " + one_line(message) + "\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char letter : text) {
    const bool control = static_cast<unsigned char>(letter) < 32 || letter == 127;
    if (!control) line += letter;
    else if (!line.empty() && line.back() != ' ') line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string plural(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string valid_utf8(const std::string& text) {
  const auto replace = nlohmann::json::error_handler_t::replace;
  return nlohmann::json::parse(nlohmann::json(text).dump(-1, ' ', false, replace)).get<std::string>();
}

}  // namespace fx::cli
