#include "progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace fx::cli {
namespace {

constexpr int kBarWidth = 30;

size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_terminal(const std::string& text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
}

std::string clock(double seconds) {
  const auto all = static_cast<int64_t>(std::ceil(seconds));
  if (all < 3600) return fmt::format("{}:{:02}", all / 60, all % 60);
  return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
}

}  // namespace

std::string denoise_line(const Progress& progress, int bar_width) {
  const int filled = progress.steps > 0 ? bar_width * progress.step / progress.steps : 0;
  std::string line =
      fmt::format("[{}{}] {}/{}", std::string(static_cast<size_t>(filled), '#'),
                  std::string(static_cast<size_t>(bar_width - filled), '-'), progress.step, progress.steps);
  if (progress.step == 0) return line;
  return line + fmt::format("  {:.3g} s/step  {} left", progress.seconds_per_step,
                            clock(progress.seconds_per_step * (progress.steps - progress.step)));
}

ProgressBar::ProgressBar() : on_(::isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(const std::string& text) {
  if (!on_) return;
  std::string line = prefix_.empty() ? text : prefix_ + "  " + text;
  line.resize(std::min(line.size(), terminal_columns() - 1));  // a wrapped line could not be taken back
  write_terminal("\r\x1b[K" + line);
  drawn_ = true;
}

void ProgressBar::update(const Progress& progress) {
  switch (progress.stage) {
    case Stage::encode: return show("encoding the prompt");
    case Stage::denoise: return show(denoise_line(progress, kBarWidth));
    case Stage::decode: return show("decoding the picture");
  }
}

void ProgressBar::clear() {
  if (drawn_) write_terminal("\r\x1b[K");
  drawn_ = false;
}

}  // namespace fx::cli
