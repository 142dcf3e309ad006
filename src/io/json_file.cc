#include "io/json_file.h"

#include "core/error.h"
#include "io/mmap_file.h"
#include "io/printable.h"

namespace fx {

nlohmann::json read_json_file(const std::filesystem::path& path) {
  const MmapFile file(path);
  const auto* text = reinterpret_cast<const char*>(file.bytes().data());
  try {
    return nlohmann::json::parse(text, text + file.bytes().size());
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::bad_file, "{}: expected JSON: {}", path.string(), printable(error.what()));
  }
}

}  // namespace fx
