#include "option_set.h"

#include "adapter_spec.h"
#include "usage_error.h"
#include "values.h"

namespace fx::cli {
namespace {

constexpr int64_t kMaxPixels = 1 << 20;  // of a side; the model's own limit is lower
constexpr int64_t kMaxSteps = 1000, kMaxTokens = 512, kMaxThreads = 1024;

}  // namespace

CLI::Option* OptionSet::one(const std::string& name, const std::string& type, const std::string& help, Read read) {
  // The callback outlives this frame, and needs the option that it makes.
  auto option = std::make_shared<CLI::Option*>();
  *option = app_.add_option(
      name,
      [option, read = std::move(read)](const CLI::results_t&) {
        read((*option)->results().front());
        return true;
      },
      help);
  return (*option)->type_name(type);
}

CLI::Option* OptionSet::many(const std::string& name, const std::string& type, const std::string& help, Read read) {
  auto option = std::make_shared<CLI::Option*>();
  *option = app_.add_option(
      name,
      [option, read = std::move(read)](const CLI::results_t&) {
        for (const std::string& value : (*option)->results()) read(value);
        return true;
      },
      help);
  return (*option)
      ->type_name(type)
      ->expected(1, CLI::detail::expected_max_vector_size)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

CLI::Option* OptionSet::path(const std::string& name, const std::string& type, const std::string& help, Path& target) {
  return one(name, type, help, [name, &target](const std::string& value) {
    expect(!value.empty(), "{}: expected a name, found an empty one", name);
    target = value;
  });
}

CLI::Option* OptionSet::integer(const std::string& name, const std::string& help, int& target, int64_t min,
                                int64_t max) {
  return one(name, "N", help, [name, &target, min, max](const std::string& value) {
    target = static_cast<int>(parse_int(name, value, min, max));
  });
}

CLI::Option* OptionSet::word(const std::string& name, const std::string& help, std::string& target,
                             const std::vector<std::string>& words) {
  const std::string list = fmt::format("{}", fmt::join(words, "|"));
  return one(name, list, help, [name, words, list, &target](const std::string& value) {
    expect(std::find(words.begin(), words.end(), value) != words.end(), "{}: expected one of {}, found '{}'", name,
           list, value);
    target = value;
  });
}

void OptionSet::model(Path& target) {
  path("--model", "DIR", "model folder in diffusers layout, as FLUX.1-dev is published", target)->required();
}

void OptionSet::json(bool& target, const std::string& note) {
  flag("--json", "print one JSON object on standard output" + note, target);
}

void OptionSet::taps(const std::string& which, Path& target) {
  path("--taps", "FILE.safetensors",
       "write intermediate tensors" + which +
           " by module path; those of the VAE are (B, height, width, channels), `vec` is (steps, B, channels)",
       target)
      ->group("Debugging");
}

void OptionSet::engine(EngineOptions& target) {
  model(target.model);
  word("--device", "where to compute (default auto: a GPU where there is one, else the CPU)", target.device,
       {"auto", "cpu", "cuda"});
  word("--precision", "of the computation (default auto: f32 on a CPU; on a GPU fp8 for large models, else bf16)",
       target.precision, {"auto", "f32", "bf16", "fp8"});
  word("--adapter-mode",
       "on a GPU: merged into the weights (no cost per step, twice the memory) or added as layers run (in fp8 more "
       "exact; default auto: merged in bf16 where memory allows)",
       target.adapter_mode, {"auto", "merged", "unmerged"});
  word("--attention", "on a GPU: its precision (default auto: e4m3 with fp8)", target.attention,
       {"auto", "bf16", "e4m3"});
  word("--modulation",
       "with fp8: its weights, which in e4m3 take 3 GB less in FLUX.1 and make pictures less exact (default auto: e4m3 "
       "where memory is short)",
       target.modulation, {"auto", "bf16", "e4m3"});
  integer(
      "--max-rank",
      "reserve room for unmerged adapters of this rank, so that none moves memory, and in fp8 none costs a pass of its "
      "own (default: none, but 128 in the weights of fp8, 64 or none where memory is short)",
      target.max_rank, 1, 1024);
  integer("--threads", "CPU threads (default: all cores)", target.threads, 1, kMaxThreads);
  flag("--reference", "compute with the slow reference back-end, to compare with", target.reference)
      ->group("Debugging");
}

void OptionSet::size(int64_t& width, int64_t& height) {
  for (auto [name, target] : {std::pair{"--width", &width}, std::pair{"--height", &height}}) {
    one(name, "PIXELS", "multiple of what the model asks, 16 for FLUX.1 (default: as the VAE's config says)",
        [name, target](const std::string& value) { *target = parse_int(name, value, 1, kMaxPixels); });
  }
}

void OptionSet::steps(int& target) {
  integer("--steps", "denoising steps (default 28; 4 for a model without guidance embedding)", target, 1, kMaxSteps);
}

void OptionSet::guidance(double& target) {
  one("--guidance", "G", "distilled guidance (default 3.5)",
      [&target](const std::string& value) { target = parse_number("--guidance", value); });
}

void OptionSet::sequence_length(int& target) {
  integer("--max-sequence-length", "T5 tokens of the prompt (default 512)", target, 1, kMaxTokens);
}

void OptionSet::picture(PictureOptions& target) {
  size(target.width, target.height);
  steps(target.steps);
  guidance(target.guidance);
  one("--seed", "S", "of the noise (default: random, and printed)",
      [&target](const std::string& value) { target.seed = parse_seed(value); });
  sequence_length(target.max_sequence_length);
  one("--noise", "f32|bf16", "dtype in which torch would draw the noise (default f32 under f32)",
      [&target](const std::string& value) { target.noise = parse_noise(value); });
}

void OptionSet::adapters(AdapterOptions& target) {
  many("--lora", "SPEC", "adapter and how it acts, FILE[:SCALE] and more (see below); again for several at once",
       [&target](const std::string& value) { target.choices.push_back(parse_adapter(value)); });
  adapter_use(target);
}

void OptionSet::adapter_use(AdapterOptions& target) {
  many("--lora-dir", "DIR",
       "folder in which --lora NAME and <lora:NAME:SCALE> in a prompt are looked up; again for several",
       [&target](const std::string& value) {
         expect(!value.empty(), "--lora-dir: expected a folder, found an empty name");
         target.folders.emplace_back(value);
       });
  flag("--merge",
       "merge adapters into the weights: hardly any cost per step. In fp8 and bf16 a GPU with memory for it does so "
       "fast, as with --adapter-mode merged; else the CPU does it, slowly",
       target.merge);
  flag("--no-merge",
       "leave adapters beside the weights: layers add them as they run, even where the weights could carry them",
       target.beside);
  flag("--strict", "fail when a part of an adapter matches nothing, instead of warning", target.strict);
}

}  // namespace fx::cli
