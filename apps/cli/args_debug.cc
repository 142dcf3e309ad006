// debug: the parts of the pipeline one by one, to hold them against another implementation.
#include "adapter_spec.h"
#include "commands.h"
#include "option_set.h"
#include "values.h"

namespace fx::cli {
namespace {

void add_tokens(CLI::App& debug, Action& action) {
  auto o = std::make_shared<DebugTokensOptions>();
  CLI::App* command = debug.add_subcommand("tokens", "ids of both tokenizers");
  OptionSet options(*command);
  options.model(o->model);
  options.one("--prompt", "TEXT", "in UTF-8", [o](const std::string& value) { o->prompt = value; })->required();
  options.sequence_length(o->max_sequence_length);
  options.json(o->json);
  command->callback([o, &action] { action = [o] { run_debug_tokens(*o); }; });
}

void add_sigmas(CLI::App& debug, Action& action) {
  auto o = std::make_shared<DebugSigmasOptions>();
  CLI::App* command = debug.add_subcommand("sigmas", "the noise levels of all steps");
  OptionSet options(*command);
  options.model(o->model);
  options.size(o->picture.width, o->picture.height);
  options.steps(o->picture.steps);
  options.json(o->json);
  command->callback([o, &action] { action = [o] { run_debug_sigmas(*o); }; });
}

void add_noise(CLI::App& debug, Action& action) {
  auto o = std::make_shared<DebugNoiseOptions>();
  CLI::App* command = debug.add_subcommand("noise", "the numbers that torch.randn draws on a CPU, as `noise` in f32");
  OptionSet options(*command);
  options.one("--seed", "S", "as in torch.manual_seed", [o](const std::string& value) { o->seed = parse_seed(value); })
      ->required();
  options
      .one("--shape", "A,B,...", "as in 1,16,64,64", [o](const std::string& value) { o->shape = parse_shape(value); })
      ->required();
  options.one("--noise", "f32|bf16", "dtype in which torch would draw (default f32)",
              [o](const std::string& value) { o->noise = parse_noise(value); });
  options.path("--out", "FILE.safetensors", "file to write", o->out)->required();
  options.json(o->json);
  command->callback([o, &action] { action = [o] { run_debug_noise(*o); }; });
}

void add_encode(CLI::App& debug, Action& action) {
  auto o = std::make_shared<DebugEncodeOptions>();
  CLI::App* command = debug.add_subcommand("encode", "what the text encoders make of a prompt");
  OptionSet options(*command);
  options.engine(o->engine);
  options.one("--prompt", "TEXT", "in UTF-8", [o](const std::string& value) { o->prompt = value; })->required();
  options.sequence_length(o->max_sequence_length);
  options.adapters(o->adapters);
  options
      .path("--out", "FILE.safetensors",
            "write prompt_embeds (1, tokens, channels) and pooled_prompt_embeds (1, channels)", o->out)
      ->required();
  options.taps("", o->taps);
  options.json(o->json);
  command->footer(kAdapterHelp);
  command->callback([o, &action] { action = [o] { run_debug_encode(*o); }; });
}

void add_transformer(CLI::App& debug, Action& action) {
  auto o = std::make_shared<DebugTransformerOptions>();
  CLI::App* command = debug.add_subcommand("transformer", "one forward pass of the transformer");
  OptionSet options(*command);
  options.engine(o->engine);
  options
      .path("--inputs", "FILE.safetensors",
            "latents (B, tokens, channels), prompt_embeds, pooled_prompt_embeds, timestep (B) or (1) from 0 to 1, "
            "guidance",
            o->inputs)
      ->required();
  options.path("--out", "FILE.safetensors", "write `sample` (B, tokens, channels), the velocity", o->out)->required();
  options.size(o->width, o->height);
  options.guidance(o->guidance);
  options.adapters(o->adapters);
  options.taps("", o->taps);
  options.json(o->json);
  command->footer(std::string(kAdapterHelp) +
                  "\n\nWithout --width and --height the picture is square, or else of the model's default size.");
  command->callback([o, &action] { action = [o] { run_debug_transformer(*o); }; });
}

}  // namespace

void add_debug_commands(CLI::App& app, Action& action) {
  CLI::App* debug = app.add_subcommand("debug", "the parts of the pipeline one by one, to compare with other programs");
  debug->require_subcommand(1);
  add_tokens(*debug, action);
  add_sigmas(*debug, action);
  add_noise(*debug, action);
  add_encode(*debug, action);
  add_transformer(*debug, action);
}

}  // namespace fx::cli
