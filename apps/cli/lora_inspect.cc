// fluxswap lora inspect: what an adapter file holds.
#include <algorithm>
#include <set>

#include "adapter_choice.h"
#include "adapter_model.h"
#include "commands.h"
#include "console.h"
#include "core/log.h"
#include "json_report.h"
#include "lora/file/read.h"
#include "lora/write/delta_norms.h"

namespace fx::cli {
namespace {

using nlohmann::json;

constexpr size_t kListed = 10;          // keys of a kind that people get to see; --json has them all
constexpr size_t kListedNorms = 5;      // modules that change most
constexpr size_t kMetadataShown = 200;  // characters of a value

struct Inspection {
  std::string name;
  FileHash hash;
  AdapterReport report;
  std::set<float> scales;        // alpha / rank of the modules
  std::string model;             // empty when none is given
  std::vector<DeltaNorm> norms;  // of its components whose weights are there; greatest relative change first
};

Inspection inspect(const LoraInspectOptions& o) {
  AdapterFile file = read_adapter_file(adapter_file(o.file));
  Inspection result{.name = file.name, .hash = file.hash, .report = file.report};
  for (const FileModule& module : file.modules) result.scales.insert(module.scale);
  if (o.model.empty()) {  // the names alone decide
    for (const FileModule& module : file.modules) {
      result.report.matched.insert(result.report.matched.end(), module.keys.begin(), module.keys.end());
    }
    return result;
  }
  const AdapterModel model(o.model);
  const Adapter adapter = resolve_adapter(std::move(file), model.target(), AbsentComponents::kept);
  result.report = adapter.report;
  result.model = model.name();
  result.norms = delta_norms(adapter, model.open_weights());
  std::ranges::stable_sort(result.norms, std::greater{}, &DeltaNorm::relative);
  return result;
}

std::vector<Component> components_of(const std::vector<DeltaNorm>& norms) {
  std::vector<Component> components;
  for (const DeltaNorm& norm : norms) components.push_back(norm.component);
  std::ranges::sort(components);
  components.erase(std::unique(components.begin(), components.end()), components.end());
  return components;
}

json norm_json(const DeltaNorm& norm) {
  return {{"delta", norm.delta}, {"weight", norm.weight}, {"relative", norm.relative()}};
}

json norms_json(const std::vector<DeltaNorm>& norms) {
  json components = json::object(), parameters = json::array();
  for (const Component component : components_of(norms)) {
    components[std::string(name(component))] = norm_json(sum(norms, component));
  }
  for (const DeltaNorm& norm : norms) {
    json entry = norm_json(norm);
    entry["component"] = name(norm.component);
    entry["parameter"] = norm.parameter;
    parameters.push_back(std::move(entry));
  }
  return {{"components", components}, {"parameters", parameters}};
}

json to_json(const LoraInspectOptions& o, const Inspection& found) {
  const AdapterReport& report = found.report;
  json ranks = json::object(), components = json::object(), alphas = json::array(), dense = json::object(),
       scales = json::array();
  for (const float scale : found.scales) scales.push_back(as_printed(scale));
  for (const auto& [rank, modules] : report.ranks) ranks[std::to_string(rank)] = modules;
  for (const auto& [alpha, modules] : report.alphas) {
    alphas.push_back({{"alpha", as_printed(static_cast<float>(alpha))}, {"modules", modules}});
  }
  for (const auto& [component, modules] : report.modules) components[std::string(name(component))] = modules;
  for (const auto& [kind, cost] : report.dense) {
    dense[kind] = {{"parameters", cost.parameters}, {"bytes", cost.bytes}};
  }
  json result = {{"file", o.file.string()},
                 {"name", found.name},
                 {"format", report.format},
                 {"formats", report.formats},
                 {"trainer", report.trainer},
                 {"family", report.family},
                 {"bytes", report.bytes},
                 {"sha256", found.hash.sha256()},
                 {"autov2", found.hash.autov2()},
                 {"autov3", found.hash.autov3()},
                 {"rank", report.rank_summary()},
                 {"ranks", ranks},
                 {"alphas", alphas},
                 {"modules_without_alpha", report.without_alpha},
                 {"scales", scales},
                 {"components", components},
                 {"targets", report.targets},
                 {"dense", dense},
                 {"dtypes", report.dtypes},
                 {"matched", report.matched},
                 {"unmatched", report.unmatched},
                 {"ignored", report.ignored},
                 {"warnings", report.warnings},
                 {"trigger_words", report.trigger_words},
                 {"metadata", report.metadata},
                 {"counts",
                  {{"matched", report.matched.size()},
                   {"unmatched", report.unmatched.size()},
                   {"ignored", report.ignored.size()}}}};
  if (found.model.empty()) return result;
  result["model"] = {{"folder", o.model.string()}, {"name", found.model}};
  result["norms"] = norms_json(found.norms);
  return result;
}

std::string listed(const std::vector<std::string>& keys) {
  std::string text = fmt::format("{}", keys.size());
  for (size_t i = 0; i < std::min(keys.size(), kListed); ++i) text += (i == 0 ? ": " : ", ") + keys[i];
  return keys.size() > kListed ? text + ", ..." : text;
}

// "16 (40 modules), 8 (2 modules)": the commonest first.
template <class Value>
std::string counted(const std::map<Value, size_t>& counts) {
  std::vector<std::pair<Value, size_t>> sorted(counts.begin(), counts.end());
  std::ranges::stable_sort(sorted, std::greater{}, &std::pair<Value, size_t>::second);
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kListed); ++i) {
    const auto& [value, count] = sorted[i];
    text += fmt::format("{}{:.6g} ({})", i ? ", " : "", static_cast<double>(value), plural(count, "module"));
  }
  return sorted.size() > kListed ? text + ", ..." : text;
}

std::string size_text(uint64_t bytes) {
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return megabytes >= 1 ? fmt::format("{:.1f} MB", megabytes) : fmt::format("{:.1f} KB", 1e3 * megabytes);
}

void row(std::string_view label, const std::string& value) {
  if (!value.empty()) write_out("{:<14} {}\n", label, one_line(value));
}

void print_contents(const AdapterReport& report) {
  for (const auto& [component, modules] : report.modules) row(name(component), plural(modules, "module"));
  row("rank", counted(report.ranks));
  std::string alphas = counted(report.alphas);
  if (report.without_alpha > 0 && !report.ranks.empty()) {
    alphas += fmt::format("{}none for {}: scale 1", alphas.empty() ? "" : ", ", plural(report.without_alpha, "module"));
  }
  row("alpha", alphas);
  for (const auto& [kind, cost] : report.dense) {
    row("not low-rank",
        fmt::format("{}: {}, merged into the weights; {} of main memory to undo it (bf16: half, e4m3: a quarter)", kind,
                    plural(cost.parameters, "parameter"), size_text(cost.bytes)));
  }
  row("trigger words", fmt::format("{}", fmt::join(report.trigger_words, ", ")));
  for (const auto& [target, modules] : report.targets) row("target", fmt::format("{} x {}", modules, target));
}

void print_norms(const std::vector<DeltaNorm>& norms) {
  for (const Component component : components_of(norms)) {
    const DeltaNorm total = sum(norms, component);
    row("delta norm", fmt::format("{:.3g} of the weights' in {}", total.relative(), name(component)));
  }
  for (size_t i = 0; i < std::min(norms.size(), kListedNorms); ++i) {
    row("  most in", fmt::format("{:.3g} {}.{}", norms[i].relative(), name(norms[i].component), norms[i].parameter));
  }
}

void print_table(const LoraInspectOptions& o, const Inspection& found) {
  const AdapterReport& report = found.report;
  row("file", o.file.string());
  row("format", report.format);
  row("trainer", report.trainer);
  row("base model", report.family);
  row("size", fmt::format("{}, {}", size_text(report.bytes), fmt::join(report.dtypes, ", ")));
  row("sha256", found.hash.sha256());
  row("AutoV2", found.hash.autov2());
  row("AutoV3", found.hash.autov3());
  print_contents(report);
  row("model", found.model);
  row("matched", plural(report.matched.size(), "key") + (found.model.empty() ? ", by their names alone" : ""));
  print_norms(found.norms);
  row("unmatched", listed(report.unmatched));
  if (!report.ignored.empty()) row("ignored", listed(report.ignored));
  for (const auto& [key, value] : report.metadata) {
    row("metadata",
        fmt::format("{} = {}", key, value.size() > kMetadataShown ? value.substr(0, kMetadataShown) + "..." : value));
  }
}

}  // namespace

void run_lora_inspect(const LoraInspectOptions& o) {
  const Inspection found = inspect(o);
  if (o.strict) require_complete(found.report, o.file);
  if (o.json) return print_json(to_json(o, found));
  print_table(o, found);
  for (const std::string& warning : found.report.warnings) log(LogLevel::warning, one_line(warning));
}

}  // namespace fx::cli
