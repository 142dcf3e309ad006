// The grammar of the command line.
#pragma once

#include <functional>

namespace fx::cli {

// What the command line asks for, ready to run; --help and --version too. Throws UsageError.
std::function<void()> parse_args(int argc, const char* const* argv);

}  // namespace fx::cli
