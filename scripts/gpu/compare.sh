#!/usr/bin/env bash
# The published recipe and fluxswap in turns, on a machine with a GPU.
#   scripts/gpu/compare.sh [ARGUMENTS of tools/gpu/in_turns.py, then of recipe_run.py]
# Tables and numbers go to $OUT (default: out). FLUXSWAP is the program (default as in parity.sh); BENCH its benchmark's arguments,
# empty to measure the recipe alone. Give both sides one model (BENCH="bench image --model FOLDER ..." and --model FOLDER): at the limit
# of power, weights decide how fast products go. SECONDS_IN_ALL is the time for everything (default 580).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
# shellcheck source=scripts/gpu/python_side.sh
source scripts/gpu/python_side.sh
out=${OUT:-out}
mkdir -p "$out"
use_carried_wheels
find_cuda_libraries || true  # what is missing shows when the program starts

bench=${BENCH-bench image --shape flux-dev --random-weights --rows fp8-e4m3,fp8-unmerged --images 3 --json}
[ -z "$bench" ] || bench="$(fluxswap_program) $bench"
python3 tools/gpu/in_turns.py --out "$out" --bench "$bench" --budget $((${SECONDS_IN_ALL:-580} - SECONDS)) "$@" 2>&1 | tee "$out/compare.log"
