#include "run_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace fx::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongest = std::chrono::seconds(60);
constexpr int kPollMilliseconds = 5;

void limit(int resource, long value) {
  const rlimit both{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  if (value >= 0) ::setrlimit(resource, &both);
}

// In the child, between fork and exec.
[[noreturn]] void become(char* const* arguments, const CommandOptions& options, int out, int err) {
  for (const int signal : {SIGINT, SIGHUP}) ::signal(signal, SIG_DFL);  // a shell may have us ignore it
  if (options.ignore_signal) ::signal(options.signal, SIG_IGN);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(err, STDERR_FILENO);
  if (options.stdout_file == "-") {
    ::close(STDOUT_FILENO);
  } else if (!options.stdout_file.empty()) {
    ::dup2(::open(options.stdout_file.c_str(), O_WRONLY), STDOUT_FILENO);
  } else {
    ::dup2(out, STDOUT_FILENO);
  }
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(126);
  limit(RLIMIT_FSIZE, options.max_file_size);
  limit(RLIMIT_AS, options.max_memory);
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // pictures are compared with those of the CPU
  ::execv(FLUXSWAP_BINARY, arguments);
  ::_exit(127);
}

// Appends what is there. false at the end.
bool read_some(int file, std::string& text) {
  char buffer[4096];
  const ssize_t count = ::read(file, buffer, sizeof buffer);
  if (count > 0) text.append(buffer, static_cast<size_t>(count));
  return count > 0;
}

void collect(pid_t child, const CommandOptions& options, int out, int err, CommandResult& result) {
  const auto end = Clock::now() + kLongest;
  bool sent = options.signal == 0;
  std::vector<pollfd> files = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  while (!files.empty()) {
    ::poll(files.data(), files.size(), kPollMilliseconds);
    std::erase_if(files, [&](pollfd& file) {
      return file.revents != 0 && !read_some(file.fd, file.fd == out ? result.out : result.err);
    });
    if (!sent && options.when()) {
      ::kill(child, options.signal);
      sent = true;
    }
    if (Clock::now() > end) ::kill(child, SIGKILL);
  }
}

}  // namespace

size_t CommandResult::error_lines() const { return static_cast<size_t>(std::count(err.begin(), err.end(), '\n')); }

CommandResult run_fluxswap(const std::vector<std::string>& arguments, const CommandOptions& options) {
  std::vector<std::string> all = {"fluxswap"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : all) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) throw std::runtime_error("cannot make a pipe");
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) become(pointers.data(), options, out[1], err[1]);
  ::close(out[1]);
  ::close(err[1]);
  CommandResult result;
  collect(child, options, out[0], err[0], result);
  ::close(out[0]);
  ::close(err[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace fx::test
