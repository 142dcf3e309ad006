// The commands. Each does its work, prints its result and returns; failures are exceptions: UsageError for a command line
// that turns out to be wrong, Error for everything else.
#pragma once

#include "options.h"

namespace fx::cli {

void run_generate(const GenerateOptions& options);
void run_grid(const GridOptions& options);
void run_lora_inspect(const LoraInspectOptions& options);
void run_lora_convert(const LoraConvertOptions& options);
void run_model_inspect(const ModelInspectOptions& options);
void run_debug_tokens(const DebugTokensOptions& options);
void run_debug_sigmas(const DebugSigmasOptions& options);
void run_debug_noise(const DebugNoiseOptions& options);
void run_debug_encode(const DebugEncodeOptions& options);
void run_debug_transformer(const DebugTransformerOptions& options);

}  // namespace fx::cli
