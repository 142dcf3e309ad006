// The values of options from their text. All throw UsageError that names the option, what was expected and what was found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/shape.h"
#include "sampling/noise.h"

namespace fx::cli {

// A whole decimal number from `min` to `max`.
int64_t parse_int(std::string_view option, std::string_view text, int64_t min, int64_t max);

// A number that is finite as a float, which is what models compute with.
double parse_number(std::string_view option, std::string_view text);

// The same without an option to blame: nothing where parse_number throws.
std::optional<double> find_number(std::string_view text);

// 0 to 2^64 - 1; a negative number stands for the unsigned one with the same bits, as in torch.
uint64_t parse_seed(std::string_view text);

NoiseType parse_noise(std::string_view text);

// "1,16,64,64"
Shape parse_shape(std::string_view text);

}  // namespace fx::cli
