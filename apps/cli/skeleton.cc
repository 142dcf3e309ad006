#include "skeleton.h"

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
      decoder_(vae, configs.vae) {}

}  // namespace fx::cli
