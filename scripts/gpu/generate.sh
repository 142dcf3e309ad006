#!/usr/bin/env bash
# Whole processes of `fluxswap generate` and `grid` by the clock, on a machine with a GPU: FLUX.1 [dev] in full with T5 and CLIP, without an
# adapter, with a low-rank one and with ones that are not (LoKr, DoRA).
#   scripts/gpu/generate.sh [ARGUMENTS of tools/gpu/by_the_clock.py]
# Tables and numbers go to $OUT (default: out). MODEL is a folder that tools/gpu/random_flux.py has written with --text-encoders (default:
# /tmp/flux-full, 35 GB, written where it is missing), and gets adapters that are not low-rank; FLUXSWAP the program (default as in
# parity.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
# shellcheck source=scripts/gpu/python_side.sh
source scripts/gpu/python_side.sh
out=${OUT:-out}
model=${MODEL:-/tmp/flux-full}
mkdir -p "$out"
use_carried_wheels
find_cuda_libraries || true
[ -f "$model/loras/attention-r16.safetensors" ] || python3 tools/gpu/random_flux.py --out "$model" --text-encoders
[ -f "$model/loras/dora-r16.safetensors" ] || python3 tools/gpu/random_dense.py "$model"
{
  echo "date: $(date -u +%FT%TZ); gpu: $(describe_gpu)"
  python3 tools/gpu/by_the_clock.py --program "$(fluxswap_program)" --model "$model" --out "$out" "$@"
} 2>&1 | tee "$out/generate.txt"
