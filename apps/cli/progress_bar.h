// One line on the terminal that says what is going on; nothing at all when standard error is no terminal.
#pragma once

#include <string>

#include "pipeline/request.h"

namespace fx::cli {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // What the next lines begin with: "2/4".
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  void show(const std::string& text);
  void update(const Progress& progress);
  // Before anything else is printed.
  void clear();

 private:
  bool on_;
  bool drawn_ = false;
  std::string prefix_;
};

// "[#####-----] 5/10  1.25 s/step  0:06 left", to be followed by nothing; for tests too.
std::string denoise_line(const Progress& progress, int bar_width);

}  // namespace fx::cli
