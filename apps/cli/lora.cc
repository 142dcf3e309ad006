// fluxswap lora inspect and lora convert.
#include <algorithm>

#include "commands.h"
#include "console.h"
#include "core/log.h"
#include "json_report.h"
#include "lora/convert.h"
#include "lora/read.h"
#include "outputs.h"
#include "signals.h"
#include "skeleton.h"

namespace fx::cli {
namespace {

using nlohmann::json;

constexpr size_t kListed = 10;  // keys of a kind that people get to see; --json has them all

struct Inspection {
  std::string name, hash, sha256;
  AdapterReport report;
  std::vector<float> scales;  // alpha / rank of the modules, each value once, rising
  std::string model;          // empty when none is given
};

template <class Modules>
std::vector<float> distinct_scales(const Modules& modules) {
  std::vector<float> scales;
  for (const auto& module : modules) scales.push_back(module.scale);
  std::ranges::sort(scales);
  scales.erase(std::unique(scales.begin(), scales.end()), scales.end());
  return scales;
}

Inspection inspect(const LoraInspectOptions& o) {
  AdapterFile file = read_adapter_file(o.file);
  Inspection result{.name = file.name,
                    .hash = file.hash.autov2(),
                    .sha256 = file.hash.sha256(),
                    .report = file.report,
                    .scales = distinct_scales(file.modules)};
  if (o.model.empty()) return result;
  const Skeleton skeleton(o.model);
  result.report = resolve_adapter(std::move(file), skeleton.adapter_target()).report;
  result.model = skeleton.configs.name;
  return result;
}

json to_json(const LoraInspectOptions& o, const Inspection& found) {
  const AdapterReport& report = found.report;
  json ranks = json::object(), components = json::object(), scales = json::array();
  for (const float scale : found.scales) scales.push_back(as_printed(scale));
  for (const auto& [rank, modules] : report.ranks) ranks[std::to_string(rank)] = modules;
  for (const auto& [component, modules] : report.modules) components[std::string(name(component))] = modules;
  json result = {{"file", o.file.string()},
                 {"name", found.name},
                 {"format", report.format},
                 {"bytes", report.bytes},
                 {"sha256", found.sha256},
                 {"autov2", found.hash},
                 {"rank", report.rank_summary()},
                 {"ranks", ranks},
                 {"scales", scales},
                 {"components", components},
                 {"targets", report.targets},
                 {"dtypes", report.dtypes},
                 {"ignored", report.ignored},
                 {"warnings", report.warnings},
                 {"trigger_words", report.trigger_words},
                 {"metadata", report.metadata}};
  if (found.model.empty()) return result;
  result["model"] = {{"folder", o.model.string()}, {"name", found.model}};
  result["matched"] = report.matched;
  result["unmatched"] = report.unmatched;
  result["counts"] = {
      {"matched", report.matched.size()}, {"unmatched", report.unmatched.size()}, {"ignored", report.ignored.size()}};
  return result;
}

std::string listed(const std::vector<std::string>& keys) {
  std::string text = fmt::format("{}", keys.size());
  for (size_t i = 0; i < std::min(keys.size(), kListed); ++i) text += (i == 0 ? ": " : ", ") + keys[i];
  return keys.size() > kListed ? text + ", ..." : text;
}

void row(std::string_view label, const std::string& value) {
  if (!value.empty()) write_out("{:<14} {}\n", label, one_line(value));
}

void print_table(const LoraInspectOptions& o, const Inspection& found) {
  const AdapterReport& report = found.report;
  row("file", o.file.string());
  row("format", report.format);
  row("size", fmt::format("{:.1f} KB, {}", static_cast<double>(report.bytes) / 1e3, fmt::join(report.dtypes, ", ")));
  row("sha256", found.sha256);
  row("AutoV2", found.hash);
  row("rank", report.rank_summary());
  row("alpha / rank", fmt::format("{}", fmt::join(found.scales, ", ")));
  for (const auto& [component, modules] : report.modules) row(name(component), fmt::format("{} modules", modules));
  row("trigger words", fmt::format("{}", fmt::join(report.trigger_words, ", ")));
  for (const auto& [target, modules] : report.targets) row("target", fmt::format("{} x {}", modules, target));
  if (!found.model.empty()) {
    row("model", found.model);
    row("matched", fmt::format("{} keys", report.matched.size()));
    row("unmatched", listed(report.unmatched));
  }
  if (!report.ignored.empty()) row("ignored", listed(report.ignored));
  for (const auto& [key, value] : report.metadata) row("metadata", fmt::format("{} = {:.200}", key, value));
}

json conversion_json(const LoraConvertOptions& o, const Adapter& adapter,
                     const std::map<std::string, DiffusersModule>& modules) {
  json tensors = json::object();
  for (const auto& [path, module] : modules) {
    tensors[path + ".lora_A.weight"] = shape_json({module.rank, module.in});
    tensors[path + ".lora_B.weight"] = shape_json({module.out, module.rank});
  }
  return {{"command", "lora convert"},
          {"output", o.out.string()},
          {"dtype", name(o.dtype)},
          {"modules", modules.size()},
          {"rank", adapter.report.rank_summary()},
          {"unmatched", adapter.report.unmatched},
          {"tensors", std::move(tensors)}};
}

}  // namespace

void run_lora_inspect(const LoraInspectOptions& o) {
  const Inspection found = inspect(o);
  if (o.json) return print_json(to_json(o, found));
  print_table(o, found);
  for (const std::string& warning : found.report.warnings) log(LogLevel::warning, one_line(warning));
}

void run_lora_convert(const LoraConvertOptions& o) {
  expect_distinct({{"OUT", o.out}}, {{"IN", o.in}});
  check_writable(o.out);
  const Skeleton skeleton(o.model);
  const Adapter adapter = read_adapter(o.in, skeleton.adapter_target());
  for (const std::string& warning : adapter.report.warnings) log(LogLevel::warning, one_line(warning));
  if (!adapter.report.unmatched.empty()) {
    log_warning("keys that match nothing in {} are left out: {}", skeleton.configs.name,
                listed(adapter.report.unmatched));
  }
  {
    const SignalHold hold;
    write_diffusers_adapter(o.out, adapter, skeleton.adapter_target(), o.dtype);
  }
  const auto modules = to_diffusers(adapter, skeleton.adapter_target());
  if (o.json) return print_json(conversion_json(o, adapter, modules));
  write_out("{}: {} modules, rank {}, {}\n", o.out.string(), modules.size(), adapter.report.rank_summary(),
            name(o.dtype));
}

}  // namespace fx::cli
