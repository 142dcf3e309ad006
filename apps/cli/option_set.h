// Options of one command. Values reach our own parsers as raw text, because CLI11 gives some of them a meaning of its own
// ("{}", "[a, b]", 010), which a prompt or a file name must not have.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "options.h"

namespace fx::cli {

class OptionSet {
 public:
  using Read = std::function<void(const std::string& value)>;

  explicit OptionSet(CLI::App& app) : app_(app) {}

  // An option with one value. `--x` by name, or a positional argument when the name has no dashes.
  CLI::Option* one(const std::string& name, const std::string& type, const std::string& help, Read read);
  // An option that may come again, with one value each time.
  CLI::Option* many(const std::string& name, const std::string& type, const std::string& help, Read read);
  CLI::Option* flag(const std::string& name, const std::string& help, bool& target) {
    return app_.add_flag(name, target, help);
  }

  CLI::Option* path(const std::string& name, const std::string& type, const std::string& help, Path& target);
  CLI::Option* integer(const std::string& name, const std::string& help, int& target, int64_t min, int64_t max);
  // One of a list of words.
  CLI::Option* word(const std::string& name, const std::string& help, std::string& target,
                    const std::vector<std::string>& words);

  // Groups that several commands share.
  void model(Path& target);
  // `note` is added to the help.
  void json(bool& target, const std::string& note = "");
  // `which` of the intermediate tensors, in words that follow "tensors".
  void taps(const std::string& which, Path& target);
  void engine(EngineOptions& target);
  void size(int64_t& width, int64_t& height);
  void steps(int& target);
  void guidance(double& target);
  void picture(PictureOptions& target);
  void sequence_length(int& target);
  // --lora.
  void adapters(AdapterOptions& target);
  // What holds for all adapters of a command.
  void adapter_use(AdapterOptions& target);

 private:
  CLI::App& app_;
};

// The commands, by groups of files. Each sets `action` when its command is the one to run.
using Action = std::function<void()>;
void add_picture_commands(CLI::App& app, Action& action);
void add_file_commands(CLI::App& app, Action& action);
void add_debug_commands(CLI::App& app, Action& action);
void add_bench_commands(CLI::App& app, Action& action);

}  // namespace fx::cli
