#include "support/adapter_formats.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/safetensors.h"

namespace fx::test {
namespace {

// A diffusers module behind its block, where it is one part of an original module behind its block.
struct Row {
  std::string_view diffusers, original;
  int part = -1;                // of the fused module
  std::string_view xlabs = "";  // of double and single blocks
  bool exchange_halves = false;
};

constexpr Row kDouble[] = {{"norm1.linear", "img_mod.lin"},
                           {"norm1_context.linear", "txt_mod.lin"},
                           {"attn.to_q", "img_attn.qkv", 0, "processor.qkv_lora1"},
                           {"attn.to_k", "img_attn.qkv", 1, "processor.qkv_lora1"},
                           {"attn.to_v", "img_attn.qkv", 2, "processor.qkv_lora1"},
                           {"attn.add_q_proj", "txt_attn.qkv", 0, "processor.qkv_lora2"},
                           {"attn.add_k_proj", "txt_attn.qkv", 1, "processor.qkv_lora2"},
                           {"attn.add_v_proj", "txt_attn.qkv", 2, "processor.qkv_lora2"},
                           {"attn.to_out.0", "img_attn.proj", -1, "processor.proj_lora1"},
                           {"attn.to_add_out", "txt_attn.proj", -1, "processor.proj_lora2"},
                           {"ff.net.0.proj", "img_mlp.0"},
                           {"ff.net.2", "img_mlp.2"},
                           {"ff_context.net.0.proj", "txt_mlp.0"},
                           {"ff_context.net.2", "txt_mlp.2"}};
constexpr Row kSingle[] = {{"norm.linear", "modulation.lin"},
                           {"attn.to_q", "linear1", 0, "processor.qkv_lora"},
                           {"attn.to_k", "linear1", 1, "processor.qkv_lora"},
                           {"attn.to_v", "linear1", 2, "processor.qkv_lora"},
                           {"proj_mlp", "linear1", 3},
                           {"proj_out", "linear2", -1, "processor.proj_lora"}};
constexpr Row kTop[] = {{"x_embedder", "img_in"},
                        {"context_embedder", "txt_in"},
                        {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
                        {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
                        {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
                        {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
                        {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
                        {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
                        {"norm_out.linear", "final_layer.adaLN_modulation.1", -1, "", true},
                        {"proj_out", "final_layer.linear"}};

const Row* find(std::span<const Row> rows, std::string_view name) {
  const auto row = std::ranges::find(rows, name, &Row::diffusers);
  return row == rows.end() ? nullptr : &*row;
}

// The module's place in the original's names, with the block in front.
struct Place {
  const Row* row = nullptr;
  std::string block;  // "double_blocks.3." or nothing
};

Place place_of(std::string_view module) {
  for (const auto& [prefix, block, rows] :
       {std::tuple{std::string_view("single_transformer_blocks."), "single_blocks.", std::span<const Row>(kSingle)},
        std::tuple{std::string_view("transformer_blocks."), "double_blocks.", std::span<const Row>(kDouble)}}) {
    if (!module.starts_with(prefix)) continue;
    const size_t dot = module.find('.', prefix.size());
    const std::string index(module.substr(prefix.size(), dot + 1 - prefix.size()));
    return {find(rows, module.substr(dot + 1)), block + index};
  }
  return {find(kTop, module), ""};
}

// Parts of one module as one: the matrices A on top of each other, those of B along the diagonal, zeros elsewhere.
DiffusersModule fuse(const std::map<int, const DiffusersModule*>& parts, int count, int64_t hidden) {
  DiffusersModule fused;
  std::vector<int64_t> begin;
  for (int part = 0; part < count; ++part) {
    begin.push_back(fused.out);
    fused.out += part == 3 ? 4 * hidden : hidden;
  }
  for (const auto& [part, module] : parts) {
    fused.rank += module->rank;
    fused.in = module->in;
    fused.a.insert(fused.a.end(), module->a.begin(), module->a.end());
  }
  fused.b.assign(static_cast<size_t>(fused.out * fused.rank), 0.0f);
  int64_t first = 0;
  for (const auto& [part, module] : parts) {
    for (int64_t row = 0; row < module->out; ++row) {
      const auto target = fused.b.begin() + (begin[static_cast<size_t>(part)] + row) * fused.rank + first;
      std::copy_n(module->b.begin() + row * module->rank, module->rank, target);
    }
    first += module->rank;
  }
  return fused;
}

DiffusersModule exchanged(DiffusersModule module) {
  const auto half = static_cast<ptrdiff_t>(module.b.size() / 2);
  std::swap_ranges(module.b.begin(), module.b.begin() + half, module.b.begin() + half);
  return module;
}

class Writer {
 public:
  Writer(const FormatSpec& format, int64_t hidden) : format_(format), hidden_(hidden) {}

  bool add(const std::string& full, const DiffusersModule& module) {
    const size_t dot = full.find('.');
    const std::string component = full.substr(0, dot), name = full.substr(dot + 1);
    if (component == "transformer") return add_transformer(name, module);
    const std::string_view prefix = component == "text_encoder" ? format_.clip : format_.t5;
    if (prefix.empty()) return false;
    put(prefix, name, module, format_.text_down.empty() ? format_.down : format_.text_down,
        format_.text_up.empty() ? format_.up : format_.text_up);
    return true;
  }

  std::filesystem::path write(const std::filesystem::path& folder) {
    for (const auto& [name, parts] : fused_) {
      const bool xlabs = format_.naming == Naming::xlabs;
      const int count = name.find("linear1") != std::string::npos && !xlabs ? 4 : 3;
      put(format_.transformer, name, fuse(parts, count, hidden_), format_.down, format_.up);
    }
    std::map<std::string, Tensor> views;
    for (auto& [name, tensor] : tensors_) views[name] = Tensor(tensor.second.data(), DType::f32, tensor.first);
    const bool config = format_.scale == FormatSpec::Scale::config_file;
    const auto file = folder / (config ? "adapter_model.safetensors" : "adapter.safetensors");
    write_safetensors(file, views);
    if (config) std::ofstream(folder / "adapter_config.json") << config_text();
    return file;
  }

 private:
  bool add_transformer(const std::string& name, const DiffusersModule& module) {
    if (format_.naming == Naming::diffusers) return put(format_.transformer, name, module, format_.down, format_.up);
    const auto [row, block] = place_of(name);
    if (!row) return false;
    const bool xlabs = format_.naming == Naming::xlabs;
    if (xlabs && row->xlabs.empty()) return false;
    std::string original = block + std::string(xlabs ? row->xlabs : row->original);
    if (row->part >= 0 && format_.naming == Naming::slices) original += "." + std::to_string(row->part);
    if (original == "img_in" && format_.naming == Naming::slices) original += ".proj";
    if (row->part >= 0 && format_.naming != Naming::slices) {
      fused_[original][row->part] = &module;
      return true;
    }
    return put(format_.transformer, original, row->exchange_halves ? exchanged(module) : module, format_.down,
               format_.up);
  }

  bool put(std::string_view prefix, std::string name, const DiffusersModule& module, std::string_view down,
           std::string_view up) {
    if (format_.underscores) std::ranges::replace(name, '.', '_');
    const std::string key = std::string(prefix) + name;
    DiffusersModule scaled = module;
    if (format_.scale != FormatSpec::Scale::none) {
      for (float& value : scaled.b) value *= 2;
    }
    tensors_[key + std::string(down)] = {{module.rank, module.in}, std::move(scaled.a)};
    tensors_[key + std::string(up)] = {{module.out, module.rank}, std::move(scaled.b)};
    const float alpha = static_cast<float>(module.rank) / 2;
    if (format_.scale == FormatSpec::Scale::alpha_key) tensors_[key + ".alpha"] = {{}, {alpha}};
    ranks_[name] = module.rank;
    return true;
  }

  std::string config_text() const {
    nlohmann::json config = {{"r", 1}, {"lora_alpha", 1}};
    for (const auto& [name, rank] : ranks_) {
      config["rank_pattern"]["^" + name] = rank;
      config["alpha_pattern"]["^" + name] = static_cast<double>(rank) / 2;
    }
    return config.dump();
  }

  const FormatSpec& format_;
  int64_t hidden_;
  std::map<std::string, std::map<int, const DiffusersModule*>> fused_;
  std::map<std::string, std::pair<Shape, std::vector<float>>> tensors_;
  std::map<std::string, int64_t> ranks_;
};

}  // namespace

const std::vector<FormatSpec>& format_specs() {
  using enum Naming;
  using Scale = FormatSpec::Scale;
  static const std::vector<FormatSpec> specs = {
      {"diffusers", diffusers, false, "transformer.", "text_encoder.", "text_encoder_2.", ".lora_A.weight",
       ".lora_B.weight", "", "", Scale::none},
      {"diffusers with alpha", diffusers, false, "transformer.", "text_encoder.", "text_encoder_2.",
       ".lora_down.weight", ".lora_up.weight", "", "", Scale::alpha_key},
      {"older diffusers", diffusers, false, "transformer.", "text_encoder.", "", ".lora.down.weight", ".lora.up.weight",
       ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", Scale::none},
      {"model level", diffusers, false, "", "", "", ".lora_A.weight", ".lora_B.weight", "", "", Scale::none},
      {"PEFT folder", diffusers, false, "base_model.model.", "", "", ".lora_A.weight", ".lora_B.weight", "", "",
       Scale::config_file},
      {"kohya", original, true, "lora_unet_", "lora_te1_", "lora_te3_", ".lora_down.weight", ".lora_up.weight", "", "",
       Scale::alpha_key},
      {"ComfyUI", original, false, "diffusion_model.", "text_encoders.clip_l.transformer.",
       "text_encoders.t5xxl.transformer.", ".lora_down.weight", ".lora_up.weight", "", "", Scale::none},
      {"BFL names", original, false, "diffusion_model.", "", "", ".lora_A.weight", ".lora_B.weight", "", "",
       Scale::alpha_key},
      {"fal", original, false, "base_model.model.", "", "", ".lora_A.weight", ".lora_B.weight", "", "", Scale::none},
      {"OneTrainer", diffusers, true, "lora_transformer_", "lora_te1_", "lora_te2_", ".lora_down.weight",
       ".lora_up.weight", "", "", Scale::alpha_key},
      {"OneTrainer, newer", slices, false, "transformer.", "clip_l.", "t5.", ".lora_down.weight", ".lora_up.weight", "",
       "", Scale::alpha_key},
      {"XLabs", xlabs, false, "", "", "", ".down.weight", ".up.weight", "", "", Scale::none},
  };
  return specs;
}

std::optional<std::filesystem::path> write_in_format(const std::filesystem::path& folder, const FormatSpec& format,
                                                     const DiffusersModules& modules, int64_t hidden) {
  Writer writer(format, hidden);
  for (const auto& [full, module] : modules) {
    if (!writer.add(full, module)) return std::nullopt;
  }
  return writer.write(folder);
}

}  // namespace fx::test
