// Standard output and standard error, as the contract has them: results on the first, one line for an error on the second.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fx::cli {

// Makes sure that descriptors 0 to 2 are taken, so that no file of ours gets the number of a closed one.
void claim_standard_streams();

// Writes to standard output at once. Throws Error(device) when that fails: a full disk, a closed pipe.
void print_text(std::string_view text);

template <class... Args>
void write_out(fmt::format_string<Args...> format, Args&&... args) {
  print_text(fmt::format(format, std::forward<Args>(args)...));
}

// One object and a newline. Text that is not UTF-8 (file names) gets replacement characters.
void print_json(const nlohmann::json& json);

// "fluxswap: error: ..." on standard error, as one line whatever the message holds.
void print_error(std::string_view message);

// Line breaks and other control characters as spaces; runs of them as one.
std::string one_line(std::string_view text);

// "1 module", "3 modules".
std::string plural(size_t count, std::string_view noun);

// `text` itself if it is UTF-8, else with replacement characters.
std::string valid_utf8(const std::string& text);

}  // namespace fx::cli
