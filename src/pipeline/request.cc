#include "pipeline/request.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace fx {
namespace {

constexpr int64_t kMaxSide = 8192, kMaxPixels = int64_t{16} << 20;
constexpr int kMaxSteps = 1000;           // the scheduler's training steps
constexpr int kMaxSequenceLength = 512;   // what the model was trained with, and diffusers' limit

int64_t checked_side(const char* what, int64_t side, int64_t multiple) {
  check(side > 0 && side % multiple == 0, ErrorCode::invalid_argument,
        "{} {}: expected a positive multiple of {}; the nearest is {}", what, side, multiple,
        std::max(multiple, (side + multiple / 2) / multiple * multiple));
  check(side <= kMaxSide, ErrorCode::invalid_argument, "{} {}: expected at most {} pixels", what, side, kMaxSide);
  return side;
}

}  // namespace

Request completed(Request request, const ModelConfigs& configs) {
  const int64_t multiple = configs.size_multiple();
  const int64_t usual = std::max(multiple, configs.vae.sample_size / multiple * multiple);
  request.width = checked_side("width", request.width == 0 ? usual : request.width, multiple);
  request.height = checked_side("height", request.height == 0 ? usual : request.height, multiple);
  check(request.width * request.height <= kMaxPixels, ErrorCode::invalid_argument,
        "{} x {} pixels: expected at most {} megapixels", request.width, request.height, kMaxPixels >> 20);
  if (request.steps == 0) request.steps = configs.default_steps();
  check(request.steps >= 1 && request.steps <= kMaxSteps, ErrorCode::invalid_argument,
        "steps {}: expected 1 to {}", request.steps, kMaxSteps);
  check(std::abs(request.guidance) <= 1e6, ErrorCode::invalid_argument,
        "guidance {}: expected a number of at most a million; FLUX.1 was trained with 1 to 10", request.guidance);
  check(request.prompt.find('\0') == std::string::npos, ErrorCode::invalid_argument,
        "the prompt has a NUL character; expected text");
  check(request.max_sequence_length >= 1 && request.max_sequence_length <= kMaxSequenceLength,
        ErrorCode::invalid_argument, "max-sequence-length {}: expected 1 to {}", request.max_sequence_length,
        kMaxSequenceLength);
  return request;
}

}  // namespace fx
