#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <string_view>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace fx::cli {
namespace {

// Never destroyed: the watching thread may outlive main.
std::mutex& hold_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

void write_error(std::string_view text) {
  [[maybe_unused]] const ssize_t ignored = ::write(2, text.data(), text.size());
}

[[noreturn]] void wait_and_exit(sigset_t signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {}
  hold_mutex().lock();
  if (::isatty(2)) write_error("\r\x1b[K");  // the progress bar
  write_error("fluxswap: error: interrupted\n");
  ::_exit(kExitInterrupted);
}

}  // namespace

void watch_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    // What the parent has us ignore stays ignored: nohup, or a job in the background.
    struct sigaction now {};
    if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  // All threads inherit it, so that the signals reach the one that waits.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    std::thread(wait_and_exit, signals).detach();
  } catch (const std::system_error& error) {
    fail(ErrorCode::device, "cannot start the thread that waits for signals: {}", error.code().message());
  }
}

SignalHold::SignalHold() : lock_(hold_mutex()) {}

}  // namespace fx::cli
