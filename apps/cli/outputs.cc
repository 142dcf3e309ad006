#include "outputs.h"

#include <sys/stat.h>
#include <unistd.h>

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

// Also a link that leads nowhere takes its name.
bool is_free(const Path& path, int count) {
  std::error_code ignored;
  return fs::symlink_status(count == 1 ? path : numbered(path, "-0001"), ignored).type() == fs::file_type::not_found;
}

// /dev/stdout, or the file to which the shell sends it. Not /dev/null, which takes everything.
bool is_standard_output(const Path& path) {
  struct stat file {
  }, out{};
  if (::stat(path.c_str(), &file) != 0 || ::fstat(STDOUT_FILENO, &out) != 0) return false;
  const bool same = file.st_dev == out.st_dev && file.st_ino == out.st_ino;
  return same && (!S_ISCHR(out.st_mode) || ::isatty(STDOUT_FILENO) == 1);
}

// One name for each file, however it is written: links followed, "." and ".." gone.
std::string identity(const Path& path) {
  std::error_code error;
  const Path real = fs::weakly_canonical(fs::absolute(path, error), error);
  return (error ? path : real).string();
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
  if (path.empty()) return;
  expect(!is_standard_output(path), "cannot write {}: the report goes to standard output, expected another file",
         path.string());
  if (is_special(path)) return;
  const SignalHold hold;
  const AtomicFile probe(path);  // makes a temporary file beside it, and removes it
}

void expect_distinct(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  std::map<std::string, const NamedFile*> taken;
  for (const NamedFile& input : inputs) {
    if (!input.path.empty()) taken.emplace(identity(input.path), &input);
  }
  for (const NamedFile& output : outputs) {
    if (output.path.empty() || is_special(output.path)) continue;
    const auto [other, added] = taken.emplace(identity(output.path), &output);
    expect(added, "{} and {}: expected two files, found {} for both", other->second->option, output.option,
           output.path.string());
  }
}

std::vector<NamedFile> adapter_files(const std::vector<AdapterChoice>& adapters) {
  std::vector<NamedFile> files;
  for (const AdapterChoice& adapter : adapters) files.push_back({"--lora", adapter.file});
  return files;
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
