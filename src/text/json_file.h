// JSON files of tokenizer folders, and their fields with messages that name the file.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace fx {

// The whole file. Throws Error(bad_file) if it cannot be read.
std::string read_text_file(const std::filesystem::path& path);

// Is there something of that name? Also true where we cannot find out (a link in circles, a folder that we may not
// enter): reading it then says why not.
bool is_present(const std::filesystem::path& path);

// The object in the file. Numbers with a fraction are rounded as the tokenizers library rounds them (serde_json without
// exact rounding), because equal sums of token scores are told apart by their last bits.
nlohmann::json read_tokenizer_json(const std::filesystem::path& path);
// The same, or an empty object where there is no such file.
nlohmann::json read_optional_tokenizer_json(const std::filesystem::path& path);

// Fields that must be there and of that type; Error(bad_file) otherwise.
std::string string_field(const nlohmann::json& object, const char* key, const std::string& file);
bool bool_field(const nlohmann::json& object, const char* key, const std::string& file);
// The same, or `fallback` if the field is absent or null.
bool bool_field(const nlohmann::json& object, const char* key, const std::string& file, bool fallback);
const nlohmann::json& array_field(const nlohmann::json& object, const char* key, const std::string& file);
const nlohmann::json& object_field(const nlohmann::json& object, const char* key, const std::string& file);

}  // namespace fx
