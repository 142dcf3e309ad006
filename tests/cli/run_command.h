// Runs the real program and looks at what it leaves: status, both outputs, files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fx::test {

struct CommandResult {
  int status = -1;  // exit status; 128 + n for death by signal n
  std::string out, err;
  size_t error_lines() const;
};

struct CommandOptions {
  std::filesystem::path folder;  // to run in; empty: the present one
  std::string stdout_file;       // instead of collecting; "-" closes it
  long max_file_size = -1;       // bytes, as ulimit -f
  long max_memory = -1;          // bytes of address space, as ulimit -v
  int signal = 0;                // to be sent once `when` is true
  bool ignore_signal = false;    // start with `signal` ignored, as nohup does
  std::function<bool()> when;
};

// fluxswap with these arguments. A run of more than a minute is killed.
CommandResult run_fluxswap(const std::vector<std::string>& arguments, const CommandOptions& options = {});

}  // namespace fx::test
