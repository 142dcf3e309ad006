#!/usr/bin/env bash
# fluxswap beside diffusers at the full size of FLUX.1 [dev], with random weights, on a machine with a GPU.
#   scripts/gpu/parity.sh [ARGUMENTS of tools/gpu/parity_full.py]
# Whether fp8 errs more than the recipe, over four draws of the inputs (ratios with standard errors):
#   scripts/gpu/parity.sh --draws 4 --same-text --cases none r32 attn-r16 --sizes 1024x1024 --steps 0 4 --stages "recipe fp8" \
#     --stage-budget 150 --fluxswap-precisions fp8-merged fp8-folded fp8-slots
# Without --same-text each draw has embeddings of its own; a program that takes one text at a time then loads the model for every
# draw of latents.
# Writes a random model (25 GB) to $MODEL (default /tmp/random-flux) unless it is there, then tables to $OUT (default: out).
# FLUXSWAP is the program (default build/gpu/fluxswap as scripts/gpu/pack.sh collects it, or that of build/cuda), SHAPE the model's
# shape (flux-dev, deep, tiny), SECONDS_IN_ALL the time for everything (default 580). RAM_DISK=1 mounts a RAM disk for the model,
# for machines with a slow disk and the memory to spare (root). Wheels in .whl/ are installed for this run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
# shellcheck source=scripts/gpu/python_side.sh
source scripts/gpu/python_side.sh
# fluxswap uses the GPU at the same time: what torch holds stays close to what it needs.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
model=${MODEL:-/tmp/random-flux}
out=${OUT:-out}
mkdir -p "$out"
use_carried_wheels
find_cuda_libraries || true  # what is missing shows when the program starts

if [ "${RAM_DISK:-0}" = 1 ] && ! mountpoint -q "$(dirname "$model")/flux-ram"; then
  ram=$(dirname "$model")/flux-ram
  mkdir -p "$ram"
  if mount -t tmpfs -o size=48G tmpfs "$ram"; then model=$ram/$(basename "$model"); else echo "parity: no RAM disk; the model goes to $model"; fi
elif [ "${RAM_DISK:-0}" = 1 ]; then
  model=$(dirname "$model")/flux-ram/$(basename "$model")
fi
if [ ! -f "$model/loras/attention-r16.safetensors" ]; then
  python3 tools/gpu/random_flux.py --out "$model" --shape "${SHAPE:-flux-dev}" 2>&1 | tee "$out/random_flux.log"
fi
python3 tools/gpu/parity_full.py --model "$model" --fluxswap "$(fluxswap_program)" --out "$out" \
  --budget $((${SECONDS_IN_ALL:-580} - SECONDS)) "$@" 2>&1 | tee "$out/parity.log"
