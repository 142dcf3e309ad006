#include "args.h"

#include <algorithm>

#include "console.h"
#include "option_set.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

constexpr const char* kVersion = "fluxswap " FLUXSWAP_VERSION;
constexpr const char* kFooter = R"(
Exit status: 0 done; 1 the work failed; 2 the command line is wrong; 130 interrupted.

Examples:
  fluxswap generate --model FLUX.1-dev --prompt "a red fox in the snow" --seed 7 --out fox.png
  fluxswap generate --model FLUX.1-dev --prompt "a red fox" --lora watercolour.safetensors:0.8
  fluxswap grid --model models/demo --prompt "a red star" "a blue circle" --lora a.safetensors b.safetensors --out sheet.png
  fluxswap lora inspect watercolour.safetensors --model FLUX.1-dev

'fluxswap COMMAND --help' tells about one command.)";

// What CLI11 would misread: "--x=" without a value takes the next argument instead of an empty one; and of several values
// after one option those in brackets would be split, so each gets an option of its own.
std::vector<std::string> normalised(int argc, const char* const* argv) {
  std::vector<std::string> args;
  std::string repeated;  // the option that further values belong to
  const bool grid = argc > 1 && std::string_view(argv[1]) == "grid";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.size() > 3 && arg.starts_with("--") && arg.find('=') == arg.size() - 1) {
      args.push_back(arg.substr(0, arg.size() - 1));
      args.emplace_back();
    } else if (grid && (arg == "--prompt" || arg == "--lora") && i + 1 < argc) {
      repeated = arg;
      args.push_back(arg);
      args.emplace_back(argv[++i]);
    } else if (!repeated.empty() && !arg.starts_with("-")) {
      args.push_back(repeated);
      args.push_back(arg);
    } else {
      repeated.clear();
      args.push_back(arg);
    }
  }
  return args;
}

void make_app(CLI::App& app, Action& action) {
  app.description("FLUX.1 text-to-image with hot-swapped LoRA adapters");
  app.get_formatter()->column_width(36);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  add_picture_commands(app, action);
  add_file_commands(app, action);
  add_debug_commands(app, action);
  add_bench_commands(app, action);
  app.footer(kFooter);  // after the commands, which would inherit it
}

// CLI11 only says that a command is missing.
void expect_known_command(const CLI::App& app, int argc, const char* const* argv) {
  const std::vector<const CLI::App*> commands = app.get_subcommands(nullptr);
  if (commands.empty() || argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : commands) {
    if (command->get_name() == argv[1]) return expect_known_command(*command, argc - 1, argv + 1);
    names.push_back(command->get_name());
  }
  throw UsageError(fmt::format("unknown command '{}'; expected {}", argv[1], fmt::join(names, ", ")));
}

// The command that the line names, as far as it names one.
const CLI::App& named_command(const CLI::App& app, int argc, const char* const* argv) {
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (argc > 1 && command->get_name() == argv[1]) return named_command(*command, argc - 1, argv + 1);
  }
  return app;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent ? full_name(*parent) + " " + command.get_name() : command.get_name();
}

// CLI11 takes whatever follows as the value: with "--prompt --out x.png" the prompt would be "--out".
void expect_values(const CLI::App& command, int argc, const char* const* argv) {
  const auto option = [&](const char* arg) {
    return std::string_view(arg).starts_with("--") ? command.get_option_no_throw(arg) : nullptr;
  };
  for (int i = 1; i + 1 < argc; ++i) {
    const CLI::Option* taker = option(argv[i]);
    if (!taker || taker->get_items_expected_max() == 0) continue;
    expect(!option(argv[i + 1]), "{0}: expected a value, found the option {1}; if it is the value, write {0}={1}",
           argv[i], argv[i + 1]);
  }
}

// CLI11 lists them backwards.
std::string unexpected(const CLI::App& app) {
  const std::vector<std::string> args = app.remaining(true);
  return fmt::format("unexpected argument{}: {}", args.size() == 1 ? "" : "s", fmt::join(args, " "));
}

}  // namespace

std::function<void()> parse_args(int argc, const char* const* argv) {
  Action action;
  CLI::App app("", "fluxswap");
  make_app(app, action);
  expect_known_command(app, argc, argv);
  const CLI::App& command = named_command(app, argc, argv);
  expect_values(command, argc, argv);
  std::vector<std::string> args = normalised(argc, argv);
  std::reverse(args.begin(), args.end());  // as CLI11 wants them
  try {
    app.parse(args);
  } catch (const CLI::CallForHelp&) {
    return [help = app.help()] { print_text(help); };
  } catch (const CLI::CallForVersion&) {
    return [] { write_out("{}\n", kVersion); };
  } catch (const CLI::ExtrasError&) {
    throw UsageError(fmt::format("{}; see {} --help", unexpected(app), full_name(command)));
  } catch (const CLI::ParseError& error) {
    throw UsageError(fmt::format("{}; see {} --help", error.what(), full_name(command)));
  }
  return action;
}

}  // namespace fx::cli
