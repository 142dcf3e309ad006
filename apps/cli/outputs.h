// Files that commands write: looked at before the work starts, written whole or not at all.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/png.h"
#include "options.h"
#include "pipeline/pipeline.h"

namespace fx::cli {

// Throws Error(device) when a file of this name cannot be written now, UsageError when it is the standard output, where
// the report goes. An empty path is none and always good.
void check_writable(const Path& path);

// A file that the command line names, and by which option.
struct NamedFile {
  std::string option;
  Path path;  // empty: not given
};

// UsageError when two outputs are one file, or an output is also an input. Devices take as much as one writes.
void expect_distinct(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs = {});

// The option for each adapter, as inputs for expect_distinct.
std::vector<NamedFile> adapter_files(const std::vector<AdapterChoice>& adapters);

// UsageError unless the name ends in .png, has no ending, or belongs to a device.
void expect_png_name(const Path& path);

// Where the pictures go: `out` or, for an empty one, an unused name made from the seed; one of several has its number,
// from 1, before the ending: "out-0001.png".
std::vector<Path> picture_paths(const Path& out, uint64_t seed, int count);

void save_picture(const Path& path, const Image& image, const std::string& parameters);

// A safetensors file of f32 tensors by their names; a name that comes again gets "#2", "#3", ... at its end.
void save_tensors(const Path& path, const std::vector<HostTensor>& tensors);

}  // namespace fx::cli
