#include "pipeline/config_json.h"

#include <cmath>

#include "pipeline/config_reader.h"

namespace fx {
namespace {

using Lengths = std::vector<int64_t>;

// Every block of a VAE level list must be of the one kind that we run.
void require_each(const ConfigReader& config, const std::string& key, const std::string& kind, size_t count) {
  const auto kinds = config.get<std::vector<std::string>>(key, std::vector<std::string>(count, kind));
  for (const std::string& found : kinds) {
    check(found == kind, ErrorCode::unsupported, "{}: {} has {}; expected {}", config.file(), key, found, kind);
  }
  check(kinds.size() == count, ErrorCode::bad_file, "{}: {} has {} entries, block_out_channels has {}", config.file(),
        key, kinds.size(), count);
}

float norm_eps(const ConfigReader& config, const std::string& key, double fallback) {
  const double eps = config.get<double>(key, fallback);
  check(eps >= 0 && eps < 1, ErrorCode::bad_file, "{}: {}: expected 0 to 1, found {}", config.file(), key, eps);
  return static_cast<float>(eps);
}

Activation clip_activation(const ConfigReader& config) {
  const auto act = config.get<std::string>("hidden_act", "quick_gelu");
  if (act == "quick_gelu") return Activation::quick_gelu;
  if (act == "gelu") return Activation::gelu_erf;
  if (act == "gelu_new" || act == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  fail(ErrorCode::unsupported, "{}: hidden_act = {} is not supported; expected quick_gelu or gelu", config.file(), act);
}

Activation t5_activation(const ConfigReader& config) {
  const auto projection = config.get<std::string>("feed_forward_proj", "relu");
  if (projection == "gated-gelu") return Activation::gelu_tanh;  // transformers reads it as gelu_new
  if (projection == "gated-silu") return Activation::silu;
  fail(ErrorCode::unsupported, "{}: feed_forward_proj = {} is not supported; expected gated-gelu (T5 v1.1)",
       config.file(), projection);
}

}  // namespace

FluxConfig read_flux_config(const std::filesystem::path& file) {
  const ConfigReader config(file);
  config.require<std::string>("_class_name", "FluxTransformer2DModel");
  config.require("patch_size", 1);
  FluxConfig flux;
  flux.in_channels = config.positive("in_channels", 64);
  flux.out_channels = config.positive("out_channels", flux.in_channels);
  flux.double_blocks = config.layers("num_layers", 19, 0);
  flux.single_blocks = config.layers("num_single_layers", 38, 0);
  flux.head_dim = config.positive("attention_head_dim", 128);
  flux.heads = config.positive("num_attention_heads", 24);
  flux.context_dim = config.positive("joint_attention_dim", 4096);
  flux.vec_dim = config.positive("pooled_projection_dim", 768);
  flux.guidance_embed = config.get<bool>("guidance_embeds", false);
  flux.axes_dim = config.get<Lengths>("axes_dims_rope", {16, 56, 56});
  check(flux.out_channels == flux.in_channels, ErrorCode::unsupported,
        "{}: out_channels {} differ from in_channels {}: a model for editing, not for text to image", file.string(),
        flux.out_channels, flux.in_channels);
  try {
    validate(flux);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", file.string(), error.what());
  }
  return flux;
}

ClipConfig read_clip_config(const std::filesystem::path& file) {
  const ConfigReader config(file);
  config.require<std::string>("model_type", "clip_text_model");
  ClipConfig clip;
  clip.vocab = config.positive("vocab_size", 49408);
  clip.hidden = config.positive("hidden_size", 512);
  clip.mlp_hidden = config.positive("intermediate_size", 2048);
  clip.layers = config.layers("num_hidden_layers", 12);
  clip.heads = config.positive("num_attention_heads", 8);
  clip.max_positions = config.positive("max_position_embeddings", 77);
  clip.activation = clip_activation(config);
  clip.eps = norm_eps(config, "layer_norm_eps", 1e-5);
  clip.eos_token = config.get<int64_t>("eos_token_id", 49407);
  return clip;
}

T5Config read_t5_config(const std::filesystem::path& file) {
  const ConfigReader config(file);
  config.require<std::string>("model_type", "t5");
  T5Config t5;
  t5.vocab = config.positive("vocab_size", 32128);
  t5.hidden = config.positive("d_model", 512);
  t5.head_dim = config.positive("d_kv", 64);
  t5.mlp_hidden = config.positive("d_ff", 2048);
  t5.layers = config.layers("num_layers", 6);
  t5.heads = config.positive("num_heads", 8);
  t5.buckets = config.positive("relative_attention_num_buckets", 32);
  t5.max_distance = config.positive("relative_attention_max_distance", 128);
  t5.activation = t5_activation(config);
  t5.eps = norm_eps(config, "layer_norm_epsilon", 1e-6);
  return t5;
}

VaeConfig read_vae_config(const std::filesystem::path& file) {
  const ConfigReader config(file);
  config.require<std::string>("_class_name", "AutoencoderKL");
  config.require<std::string>("act_fn", "silu");
  config.require("out_channels", 3);
  VaeConfig vae;
  vae.image_channels = config.positive("in_channels", 3);
  vae.latent_channels = config.positive("latent_channels", 4);
  vae.block_channels = config.get<Lengths>("block_out_channels", {64});
  check(!vae.block_channels.empty() && vae.block_channels.size() <= 8, ErrorCode::unsupported,
        "{}: block_out_channels: expected 1 to 8 levels, found {}", file.string(), vae.block_channels.size());
  require_each(config, "down_block_types", "DownEncoderBlock2D", vae.block_channels.size());
  require_each(config, "up_block_types", "UpDecoderBlock2D", vae.block_channels.size());
  vae.layers_per_block = config.layers("layers_per_block", 1);
  vae.norm_groups = static_cast<int>(config.positive("norm_num_groups", 32));
  for (const int64_t channels : vae.block_channels) {
    check(channels > 0 && channels % vae.norm_groups == 0, ErrorCode::bad_file,
          "{}: block_out_channels {} are not divisible by norm_num_groups {}", file.string(), channels, vae.norm_groups);
  }
  check(!config.has("latents_mean") && !config.has("latents_std"), ErrorCode::unsupported,
        "{}: latents_mean and latents_std are not supported; expected scaling_factor and shift_factor", file.string());
  vae.scaling_factor = static_cast<float>(config.get<double>("scaling_factor", 0.18215));
  vae.shift_factor = static_cast<float>(config.get<double>("shift_factor", 0.0));
  check(std::isnormal(vae.scaling_factor) && vae.scaling_factor > 0, ErrorCode::bad_file,
        "{}: scaling_factor: expected a positive number, found {}", file.string(), vae.scaling_factor);
  check(std::isfinite(vae.shift_factor), ErrorCode::bad_file, "{}: shift_factor is not finite", file.string());
  vae.quant_conv = config.get<bool>("use_quant_conv", true);
  vae.post_quant_conv = config.get<bool>("use_post_quant_conv", true);
  vae.mid_attention = config.get<bool>("mid_block_add_attention", true);
  vae.sample_size = config.positive("sample_size", 32);
  return vae;
}

SchedulerConfig read_scheduler_config(const std::filesystem::path& file) {
  const ConfigReader config(file);
  config.require<std::string>("_class_name", "FlowMatchEulerDiscreteScheduler");
  config.require("use_flow_sigmas", false);
  const SchedulerConfig defaults;
  SchedulerConfig s;
  s.num_train_timesteps = static_cast<int>(config.positive("num_train_timesteps", defaults.num_train_timesteps));
  s.shift = config.get<double>("shift", defaults.shift);
  s.use_dynamic_shifting = config.get<bool>("use_dynamic_shifting", false);
  s.base_shift = config.get<double>("base_shift", defaults.base_shift);
  s.max_shift = config.get<double>("max_shift", defaults.max_shift);
  s.base_image_seq_len = config.positive("base_image_seq_len", defaults.base_image_seq_len);
  s.max_image_seq_len = config.positive("max_image_seq_len", defaults.max_image_seq_len);
  if (config.has("shift_terminal")) s.shift_terminal = config.get<double>("shift_terminal", 0.0);
  s.time_shift_type = config.get<std::string>("time_shift_type", defaults.time_shift_type);
  s.invert_sigmas = config.get<bool>("invert_sigmas", false);
  s.use_karras_sigmas = config.get<bool>("use_karras_sigmas", false);
  s.use_exponential_sigmas = config.get<bool>("use_exponential_sigmas", false);
  s.use_beta_sigmas = config.get<bool>("use_beta_sigmas", false);
  s.stochastic_sampling = config.get<bool>("stochastic_sampling", false);
  try {
    check_supported(s);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", file.string(), error.what());
  }
  return s;
}

ModelConfigs read_model_configs(const std::filesystem::path& folder) {
  std::error_code unreadable;
  check(std::filesystem::is_directory(folder, unreadable), ErrorCode::bad_file,
        "{}: no such folder; expected a diffusers folder of FLUX.1 with model_index.json", folder.string());
  ConfigReader(folder / "model_index.json").require<std::string>("_class_name", "FluxPipeline");
  ModelConfigs model;
  model.flux = read_flux_config(folder / "transformer" / "config.json");
  model.clip = read_clip_config(folder / "text_encoder" / "config.json");
  model.t5 = read_t5_config(folder / "text_encoder_2" / "config.json");
  model.vae = read_vae_config(folder / "vae" / "config.json");
  model.scheduler = read_scheduler_config(folder / "scheduler" / "scheduler_config.json");
  model.name = std::filesystem::weakly_canonical(folder).filename().string();
  const auto agree = [&](const char* what, int64_t transformer, int64_t other) {
    check(transformer == other, ErrorCode::bad_file, "{}: the transformer's config expects {} {}, found {}",
          folder.string(), what, transformer, other);
  };
  agree("joint_attention_dim = d_model of text_encoder_2", model.flux.context_dim, model.t5.hidden);
  agree("pooled_projection_dim = hidden_size of text_encoder", model.flux.vec_dim, model.clip.hidden);
  agree("in_channels = 4 x latent_channels of vae", model.flux.in_channels, 4 * model.vae.latent_channels);
  return model;
}

}  // namespace fx
