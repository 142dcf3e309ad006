// JSON files with errors that say where.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace fx {

// Throws bad_file when the file is missing, empty, or not JSON; the message has the file, line and column.
nlohmann::json read_json_file(const std::filesystem::path& path);

}  // namespace fx
