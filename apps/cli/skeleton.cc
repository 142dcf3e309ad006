#include "skeleton.h"

#include "pipeline/model.h"

namespace fx::cli {

Skeleton::Skeleton(const Path& folder)
    : configs(read_model_configs(folder)),
      runtime_(make_host_runtime()),  // no limit: this memory is never touched
      transformer(*runtime_),
      text_encoder(*runtime_),
      text_encoder_2(*runtime_),
      vae(*runtime_),
      flux_(transformer, configs.flux),
      clip_(text_encoder, configs.clip),
      t5_(text_encoder_2, configs.t5),
      decoder_(vae, configs.vae),
      transformer_names_(flux_name_map(
          {configs.flux.double_blocks, configs.flux.single_blocks, configs.flux.hidden(), configs.flux.mlp_hidden()})),
      clip_names_(clip_name_map(parameter_names(text_encoder))),
      t5_names_(t5_name_map(parameter_names(text_encoder_2))) {
  target_.add(Component::transformer, transformer_names_, transformer);
  target_.add(Component::text_encoder, clip_names_, text_encoder);
  target_.add(Component::text_encoder_2, t5_names_, text_encoder_2);
}

}  // namespace fx::cli
