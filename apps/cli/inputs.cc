#include "inputs.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/log.h"
#include "io/printable.h"
#include "io/safetensors.h"

namespace fx::cli {
namespace {

HostTensor read_tensor(const TensorSource& source, const TensorInfo& info) {
  check(is_floating(info.dtype), ErrorCode::bad_file, "{}: {}: expected a floating type, found {}",
        source.path().string(), info.name, name(info.dtype));
  check(info.shape.count() > 0, ErrorCode::bad_file, "{}: {}: expected values, found none in {}",
        source.path().string(), info.name, to_string(info.shape));
  HostTensor tensor{info.name, info.shape, std::vector<float>(static_cast<size_t>(info.shape.count()))};
  convert_to_f32(info.dtype, source.bytes(info).data(), tensor.values.data(), tensor.values.size());
  check(std::ranges::all_of(tensor.values, [](float v) { return std::isfinite(v); }), ErrorCode::bad_file,
        "{}: {}: expected finite values, found NaN or infinity", source.path().string(), info.name);
  return tensor;
}

std::optional<HostTensor>* place_of(Inputs& inputs, const std::string& name) {
  if (name == "latents") return &inputs.given.latents;
  if (name == "prompt_embeds") return &inputs.given.prompt_embeds;
  if (name == "pooled_prompt_embeds") return &inputs.given.pooled;
  if (name == "timestep") return &inputs.timestep;
  if (name == "guidance") return &inputs.guidance;
  return nullptr;
}

}  // namespace

std::string used_names(const GivenInputs& given) {
  std::string names;
  for (const auto* tensor : {&given.latents, &given.prompt_embeds, &given.pooled}) {
    if (*tensor) names += (names.empty() ? "" : " + ") + (*tensor)->name;
  }
  return names;
}

Inputs read_inputs(const Path& path) {
  Inputs inputs;
  const auto source = open_safetensors(path);
  std::vector<std::string> unused;
  for (const TensorInfo& info : source->tensors()) {
    if (auto* place = place_of(inputs, info.name)) *place = read_tensor(*source, info);
    else unused.push_back(printable(info.name));
  }
  if (!unused.empty()) {
    log_warning("{}: not used: {}{}; known are latents, prompt_embeds, pooled_prompt_embeds, timestep, guidance",
                path.string(), unused.front(),
                unused.size() == 1 ? "" : fmt::format(" and {} more tensors", unused.size() - 1));
  }
  return inputs;
}

HostTensor pictures_of(const HostTensor& tensor, int64_t begin, int64_t count) {
  HostTensor part{tensor.name, tensor.shape, {}};
  part.shape[0] = count;
  const auto size = static_cast<int64_t>(tensor.values.size()) / tensor.shape[0];
  part.values.assign(tensor.values.begin() + begin * size, tensor.values.begin() + (begin + count) * size);
  return part;
}

}  // namespace fx::cli
