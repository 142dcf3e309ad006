#include "lora/file/describe.h"

#include <fmt/format.h>

#include <algorithm>

#include "lora/delta.h"
#include "lora/file/file_metadata.h"
#include "lora/file/recognise.h"
#include "lora/messages.h"

namespace fx {
namespace {

// "transformer_blocks.7.attn.to_q" -> "transformer_blocks.*.attn.to_q"; as well with underscores.
std::string without_index(const FileModule& module) {
  const std::string index = std::to_string(module.place.block);
  const auto separator = [](char c) { return c == '.' || c == '_'; };
  for (size_t at = module.name.find(index, 1); at != std::string::npos; at = module.name.find(index, at + 1)) {
    const size_t end = at + index.size();
    if (separator(module.name[at - 1]) && end < module.name.size() && separator(module.name[end])) {
      return module.name.substr(0, at) + "*" + module.name.substr(end);
    }
  }
  return module.name;
}

bool is_control(const AdapterFile& file) {
  const auto has = [&](auto&& wanted) { return std::ranges::any_of(file.modules, wanted); };
  return has([](const FileModule& module) { return module.replaces && module.place.kind == ModuleKind::norm; }) &&
         has([](const FileModule& module) { return module.place.canonical == "img_in"; });
}

// "kohya + PEFT/diffusers (LoKr, DoRA)"
void name_format(AdapterFile& file) {
  AdapterReport& report = file.report;
  // Keys that several trainers spell alike say something only in a file that has no others.
  const auto shared = report.formats.extract("");
  if (report.formats.empty() && !shared.empty()) report.formats["kohya"] = shared.mapped();
  if (const auto plain = report.formats.extract("BFL"); !plain.empty()) {
    report.formats[is_control(file) ? "BFL control" : "BFL"] = plain.mapped();
  }
  std::vector<std::pair<std::string, size_t>> formats(report.formats.begin(), report.formats.end());
  std::ranges::stable_sort(formats, std::ranges::greater(), &std::pair<std::string, size_t>::second);
  for (const auto& [format, keys] : formats) report.format += (report.format.empty() ? "" : " + ") + format;
  std::string algorithms;
  for (const auto& [kind, cost] : report.dense) {
    if (kind != "bias" && kind != "norm") algorithms += (algorithms.empty() ? "" : ", ") + kind;
  }
  if (!algorithms.empty()) report.format += " (" + algorithms + ")";
}

void count(AdapterFile& file) {
  AdapterReport& report = file.report;
  for (const FileModule& module : file.modules) {
    if (module.changes_nothing()) continue;
    if (!module.low_rank()) {
      const DeltaShape shape = *shape_of(module.delta);
      DenseCost& cost = report.dense[std::string(module.kind)];
      ++cost.parameters;
      cost.bytes += static_cast<uint64_t>(shape.rows) * static_cast<uint64_t>(shape.columns) * sizeof(float);
    }
    if (module.is_bias()) continue;
    if (module.rank > 0) {
      ++report.ranks[module.rank];
      if (module.alpha) ++report.alphas[*module.alpha];
      else ++report.without_alpha;
    }
    ++report.modules[module.place.component];
    ++report.targets[std::string(name(module.place.component)) + "." + without_index(module)];
  }
}

void name_family(AdapterFile& file) {
  AdapterReport& report = file.report;
  const bool transformer = report.modules.contains(Component::transformer);
  const TransformerSizes sizes = sizes_of(file);
  report.family = transformer ? kFlux1 : "text encoders only, which FLUX.1 shares with other families";
  if (!transformer && !report.modules.empty()) {
    note(report.warnings, "the file changes text encoders only; the transformer stays as it is");
  }
  const std::string_view family = likely_family(sizes);
  if (!transformer || (family.empty() && !sizes.beyond_flux()) || family == kFlux1) return;
  report.family = family.empty() ? "another family with FLUX.1's names" : family;
  if (sizes.beyond_flux()) {
    note(report.warnings, fmt::format("it has blocks beyond those of FLUX.1 ({} double, {} single): it looks like {}",
                                      sizes.double_blocks, sizes.single_blocks, report.family));
  } else {
    note(report.warnings, fmt::format("its sizes are those of {}, not of FLUX.1", family));
  }
}

void warn_of_control_image(AdapterFile& file) {
  constexpr int64_t kChannels = 64;  // packed latents of all published models
  for (const FileModule& module : file.modules) {
    const int64_t in = shape_of(module.delta)->columns;
    if (module.place.canonical != "img_in" || module.is_bias() || in <= kChannels) continue;
    note(file.report.warnings, fmt::format("it is for control images (Canny, Depth): the last {} of the {} channels of "
                                           "its image input can be applied only to a model that has them",
                                           in - kChannels, in));
  }
}

void warn_of_leftovers(AdapterReport& report) {
  const auto any = [](const std::vector<std::string>& keys, auto&& wanted) {
    return std::ranges::any_of(keys, wanted);
  };
  if (any(report.ignored, [](const auto& key) { return key.starts_with("bundle_emb."); })) {
    note(report.warnings, "the file carries a trained embedding for a trigger word, which is not used");
  }
  if (any(report.ignored, [](const auto& key) { return key.find(".lora_embedding_") != key.npos; })) {
    note(report.warnings, "the file adapts an embedding (lora_embedding_A), which is not used");
  }
}

}  // namespace

void describe(AdapterFile& file) {
  AdapterReport& report = file.report;
  count(file);
  name_format(file);
  name_family(file);
  report.trainer = trainer_of(report.metadata);
  report.trigger_words = trigger_words_of(report.metadata);
  for (const std::string& sentence : other_base_models(report.metadata)) note(report.warnings, sentence);
  warn_of_leftovers(report);
  warn_of_control_image(file);
}

TransformerSizes sizes_of(const AdapterFile& file) {
  TransformerSizes sizes;
  for (const FileModule& module : file.modules) {
    const AdapterModule& place = module.place;
    if (place.component != Component::transformer) continue;
    const bool single = place.canonical.starts_with("single_blocks.");
    int64_t& blocks = single ? sizes.single_blocks : sizes.double_blocks;
    blocks = std::max(blocks, place.block + 1);
    const bool attention = place.canonical.ends_with("_attn.qkv") || place.canonical.ends_with(".linear1");
    if (!attention || module.is_bias()) continue;
    const DeltaShape shape = *shape_of(module.delta);
    sizes.width = shape.columns;
    if (single && place.part == FusedPart::all) sizes.linear1 = shape.rows;
  }
  return sizes;
}

void note(std::vector<std::string>& list, std::string_view entry) {
  if (std::ranges::find(list, entry) == list.end()) list.emplace_back(entry);
}

}  // namespace fx
