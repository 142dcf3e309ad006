// bench: how fast, on this machine.
#include "bench.h"
#include "commands.h"
#include "option_set.h"
#include "usage_error.h"
#include "values.h"

namespace fx::cli {
namespace {

constexpr int kMaxBatch = 16, kMaxRank = 512, kMaxRuns = 10000, kMaxThreads = 1024;

// Says which names there are, and what they stand for.
std::string rows_footer() {
  std::string text = "Rows:\n";
  for (const BenchRow& row : bench_rows()) text += fmt::format("  {:<23}{}\n", row.name, row.text);
  return text +
         "  t5, clip               the text encoders alone (bench image)\n"
         "A device that computes in f32 alone runs all rows in f32; --precision sets that of all rows.";
}

void add_model(OptionSet& options, BenchOptions& o) {
  options.path("--model", "DIR", "model folder in diffusers layout", o.engine.model);
  options.flag("--random-weights", "measure with random weights in place of a model folder", o.random_weights);
  options.word("--shape", "whose sizes random weights have (default flux-dev); tiny is for tests", o.shape,
               bench_shapes());
  options.word("--device", "where to compute (default auto: a GPU where there is one, else the CPU)", o.engine.device,
               {"auto", "cpu", "cuda"});
  options.word("--precision", "of all rows (default auto: that of the row, where the device has it)",
               o.engine.precision, {"auto", "f32", "bf16", "fp8"});
  options.integer("--threads", "CPU threads (default: all cores)", o.engine.threads, 1, kMaxThreads);
}

void add_common(OptionSet& options, BenchOptions& o) {
  add_model(options, o);
  options.size(o.picture.width, o.picture.height);
  options.steps(o.picture.steps);
  options.sequence_length(o.picture.max_sequence_length);
  options.integer("--batch", "pictures at a time (default 1)", o.batch, 1, kMaxBatch);
  options.path("--log", "FILE", "append each row as it is measured, as one line of JSON", o.log);
  options.json(o.json);
}

void add_rows(OptionSet& options, BenchOptions& o, const std::string& fallback, const std::vector<std::string>& more) {
  options.one("--rows", "NAME,...", "which rows to measure (default: " + fallback + ")",
              [&o, more](const std::string& value) { o.rows = parse_bench_rows(value, more); });
  options.integer("--rank", "of the random adapters (default 32)", o.rank, 1, kMaxRank);
}

void add_images(OptionSet& options, BenchOptions& o) {
  options.integer("--images", "measurements of each row (default 10), after two that do not count", o.images, 1,
                  kMaxRuns);
}

void check_model(BenchOptions& o) {
  expect(o.random_weights != !o.engine.model.empty(), "expected either --model DIR or --random-weights");
  expect(o.random_weights || o.shape.empty(), "--shape: is for --random-weights; a model folder has its own");
  if (o.shape.empty()) o.shape = "flux-dev";
}

std::pair<CLI::App*, std::shared_ptr<BenchOptions>> add_command(CLI::App& bench, Action& action, const char* name,
                                                                const char* help, void (*run)(const BenchOptions&)) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* command = bench.add_subcommand(name, help);
  command->callback([o, run, &action] {
    action = [o, run] {
      check_model(*o);
      run(*o);
    };
  });
  OptionSet options(*command);
  add_common(options, *o);
  return {command, o};
}

void add_image(CLI::App& bench, Action& action) {
  const auto [command, o] =
      add_command(bench, action, "image", "seconds per picture, each row adding one thing", run_bench_image);
  OptionSet options(*command);
  add_rows(options, *o, "all", text_encoder_rows());
  add_images(options, *o);
  options.flag("--interactive",
               "with one row: read lines `image`, `swap` and `quit` from standard input and answer each with its "
               "seconds; the first line says `ready`",
               o->interactive);
  command->footer(
      "A picture is timed from the call to its RGB bytes in host memory: noise, modulation, steps, VAE. "
      "Embeddings are given; the text encoders are rows of their own. With --batch, s/image is a picture's share, all "
      "other "
      "times are of the whole batch.\n\n" +
      rows_footer());
}

void add_transformer(CLI::App& bench, Action& action) {
  const auto [command, o] = add_command(bench, action, "transformer",
                                        "milliseconds per step, recorded and call by call", run_bench_transformer);
  OptionSet options(*command);
  add_rows(options, *o, "fp8-unmerged", {});
  add_images(options, *o);
  options.flag("--profile", "time each operation of a step on its own, with its share of what the device can do",
               o->profile);
  command->footer(rows_footer());
}

}  // namespace

void add_bench_commands(CLI::App& app, Action& action) {
  CLI::App* bench = app.add_subcommand("bench", "how fast pictures, steps, adapter swaps and loading are");
  bench->require_subcommand(1);
  add_image(*bench, action);
  add_transformer(*bench, action);
  const auto [swap, o] = add_command(*bench, action, "swap",
                                     "milliseconds to change adapters of random ranks on random layers, and whether "
                                     "they leave a trace",
                                     run_bench_swap);
  OptionSet options(*swap);
  options.integer("--swaps", "changes of adapters, for those in the weights and those beside them (default 100)",
                  o->swaps, 1, kMaxRuns);
  add_command(*bench, action, "load", "seconds from the start of the process to the first picture", run_bench_load);
}

}  // namespace fx::cli
