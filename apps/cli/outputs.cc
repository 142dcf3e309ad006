#include "outputs.h"

#include "console.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "signals.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

namespace fs = std::filesystem;

bool is_special(const Path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

Path numbered(const Path& path, const std::string& number) {
  Path name = path.stem();
  name += number;
  name += path.extension();
  return path.parent_path() / name;
}

bool is_free(const Path& path, int count) {
  if (count == 1) return !fs::exists(path);
  return !fs::exists(numbered(path, "-0001"));
}

// A name that no earlier picture has.
Path unused_name(uint64_t seed, int count) {
  const Path first = fmt::format("fluxswap-{}.png", seed);
  Path name = first;
  for (int i = 2; !is_free(name, count); ++i) name = numbered(first, fmt::format("-{}", i));
  return name;
}

}  // namespace

void check_writable(const Path& path) {
  if (path.empty() || is_special(path)) return;
  const SignalHold hold;
  const AtomicFile probe(path);  // makes a temporary file beside it, and removes it
}

void expect_png_name(const Path& path) {
  const std::string ending = path.extension().string();
  expect(ending.empty() || ending == ".png" || ending == ".PNG" || is_special(path),
         "--out: expected a name that ends in .png, found '{}'", path.string());
}

std::vector<Path> picture_paths(const Path& out, uint64_t seed, int count) {
  const Path base = out.empty() ? unused_name(seed, count) : out;
  if (count == 1 || is_special(base)) return std::vector<Path>(static_cast<size_t>(count), base);
  std::vector<Path> paths;
  for (int i = 1; i <= count; ++i) paths.push_back(numbered(base, fmt::format("-{:04}", i)));
  return paths;
}

void save_picture(const Path& path, const Image& image, const std::string& parameters) {
  const SignalHold hold;
  write_png(path, image, {{"parameters", valid_utf8(parameters)}});
}

void save_tensors(const Path& path, const std::vector<HostTensor>& tensors) {
  std::map<std::string, Tensor> named;
  for (const HostTensor& tensor : tensors) {
    std::string name = tensor.name;
    for (int i = 2; named.contains(name); ++i) name = fmt::format("{}#{}", tensor.name, i);
    // The writer only reads.
    named.emplace(name, Tensor(const_cast<float*>(tensor.values.data()), DType::f32, tensor.shape));
  }
  const SignalHold hold;
  write_safetensors(path, named);
}

}  // namespace fx::cli
