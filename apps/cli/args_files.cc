// lora and model.
#include "commands.h"
#include "option_set.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

DType parse_dtype(const std::string& text) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (text == name(dtype)) return dtype;
  }
  throw UsageError(fmt::format("--dtype: expected f32, f16 or bf16, found '{}'", text));
}

constexpr const char* kStrict = "fail when a part of the adapter matches nothing, instead of warning";

void add_lora_inspect(CLI::App& lora, Action& action) {
  auto o = std::make_shared<LoraInspectOptions>();
  CLI::App* command = lora.add_subcommand("inspect", "say what an adapter file holds");
  OptionSet options(*command);
  options.path("FILE", "", "adapter, a .safetensors file or a PEFT folder", o->file)->required();
  options.path("--model", "DIR", "also say which keys match this model, and how much its weights change", o->model);
  options.flag("--strict", kStrict, o->strict);
  options.json(o->json);
  command->callback([o, &action] { action = [o] { run_lora_inspect(*o); }; });
}

void add_lora_convert(CLI::App& lora, Action& action) {
  auto o = std::make_shared<LoraConvertOptions>();
  CLI::App* command = lora.add_subcommand("convert", "write an adapter of any format as a PEFT/diffusers file");
  OptionSet options(*command);
  options.path("IN", "", "adapter to read", o->in)->required();
  options.path("OUT.safetensors", "", "adapter to write", o->out)->required();
  options.path("--model", "DIR", "model folder; one with nothing but transformer/ will do", o->model)->required();
  CLI::Option* dtype = options.one("--dtype", "f32|f16|bf16", "of the matrices in OUT (default f32)",
                                   [o](const std::string& value) { o->dtype = parse_dtype(value); });
  options
      .flag("--dense",
            "write what the adapter adds to each parameter at scale 1, in f32, also where that is not low-rank",
            o->dense)
      ->excludes(dtype);
  options.flag("--strict", kStrict, o->strict);
  options.json(o->json);
  command->footer(
      "\nThe same adapter gives the same tensors, whatever its format: modules have the names of diffusers, alpha is\n"
      "folded into B, fused modules are split, and ranks whose column of B is zero are left out.");
  command->callback([o, &action] { action = [o] { run_lora_convert(*o); }; });
}

void add_model_inspect(CLI::App& model, Action& action) {
  auto o = std::make_shared<ModelInspectOptions>();
  CLI::App* command = model.add_subcommand("inspect", "sizes, parameters, dtypes and memory of a model folder");
  OptionSet options(*command);
  options.path("DIR", "", "model folder in diffusers layout", o->model)->required();
  options.json(o->json);
  command->callback([o, &action] { action = [o] { run_model_inspect(*o); }; });
}

}  // namespace

void add_file_commands(CLI::App& app, Action& action) {
  CLI::App* lora = app.add_subcommand("lora", "inspect and convert adapter files");
  lora->require_subcommand(1);
  add_lora_inspect(*lora, action);
  add_lora_convert(*lora, action);
  CLI::App* model = app.add_subcommand("model", "inspect model folders");
  model->require_subcommand(1);
  add_model_inspect(*model, action);
}

}  // namespace fx::cli
