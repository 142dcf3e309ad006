// generate and grid.
#include "adapter_spec.h"
#include "commands.h"
#include "option_set.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

void add_generate(CLI::App& app, Action& action) {
  auto o = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "make pictures of one prompt");
  OptionSet options(*command);
  options.engine(o->engine);
  options.one("--prompt", "TEXT", "what to show, in UTF-8", [o](const std::string& value) { o->prompt = value; });
  options.adapters(o->adapters);
  options.picture(o->picture);
  options.integer("--count", "pictures, with seed, seed + 1, ...; files are numbered (default 1)", o->count, 1, 9999);
  options.path("--out", "FILE.png", "picture to write (default fluxswap-SEED.png, or the next free name)", o->out);
  options
      .path("--save-latents", "FILE.safetensors",
            "write `latents` (count, tokens, channels), packed f32, just before the VAE", o->save_latents)
      ->group("Debugging");
  options
      .path("--inputs", "FILE.safetensors",
            "any of latents (packed noise), prompt_embeds, pooled_prompt_embeds, to be used as given", o->inputs)
      ->group("Debugging");
  options.taps(" of the first picture (text encoders, first step, VAE)", o->taps);
  options.json(o->json, "; graph_captures in it is 0 where nothing is captured, as on a CPU");
  command->footer(kAdapterHelp);
  command->callback([o, &action] { action = [o] { run_generate(*o); }; });
}

void add_grid(CLI::App& app, Action& action) {
  auto o = std::make_shared<GridOptions>();
  CLI::App* command = app.add_subcommand("grid", "contact sheet: prompts down, adapters across, one loaded model");
  OptionSet options(*command);
  options.engine(o->engine);
  options
      .many("--prompt", "TEXT...", "one row each, in UTF-8",
            [o](const std::string& value) { o->prompts.push_back(value); })
      ->required();
  options.many("--lora", "SPEC...",
               "one column each, after a first one without adapter (see below); A:0.8+B:0.5 is two in one column",
               [o](const std::string& value) { o->columns.push_back(parse_adapter_set(value)); });
  options.adapter_use(o->adapters);
  options.picture(o->picture);
  options.path("--out", "SHEET.png", "contact sheet to write", o->out)->required();
  options.json(o->json, "; graph_captures in it is 0 where nothing is captured, as on a CPU");
  command->footer(std::string(kAdapterHelp) +
                  "\n\nAll pictures have the same seed, so that columns differ by their adapters only.");
  command->callback([o, &action] { action = [o] { run_grid(*o); }; });
}

}  // namespace

void add_picture_commands(CLI::App& app, Action& action) {
  add_generate(app, action);
  add_grid(app, action);
}

}  // namespace fx::cli
