// Exit status: 0 done; 1 the work failed; 2 the command line is wrong; 130 interrupted.
#include <new>

#include "args.h"
#include "console.h"
#include "core/error.h"
#include "signals.h"
#include "usage_error.h"

namespace {

constexpr int kExitFailed = 1, kExitUsage = 2;

int run(int argc, char** argv) {
  try {
    fx::cli::watch_signals();
    fx::cli::parse_args(argc, argv)();
    return 0;
  } catch (const fx::cli::UsageError& error) {
    fx::cli::print_error(error.what());
    return kExitUsage;
  } catch (const fx::Error& error) {
    fx::cli::print_error(error.what());
    return error.code() == fx::ErrorCode::cancelled ? fx::cli::kExitInterrupted : kExitFailed;
  } catch (const std::bad_alloc&) { fx::cli::print_error("out of memory"); } catch (const std::exception& error) {
    fx::cli::print_error(error.what());
  }
  return kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  fx::cli::claim_standard_streams();
  return run(argc, argv);
}
