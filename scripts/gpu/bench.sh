#!/usr/bin/env bash
# fluxswap bench on a machine with a GPU, with random weights of FLUX.1's sizes.
#   scripts/gpu/bench.sh [SECTION...]      image swap transformer sizes load; default: all
# Tables go to standard output and $OUT/bench.txt, with the clocks under load, and each row as a line of JSON to $OUT/bench.jsonl (default
# OUT: out). FLUXSWAP is the program (default build/gpu/fluxswap, as scripts/gpu/pack.sh collects it),
# ROWS the rows of `image`, `sizes` and `transformer` (default: all; the default way and the fastest; those and bf16), IMAGES the pictures of
# each row (default 10), SWAPS the changes of adapters (default 100), MAX_SECONDS the limit of each run (default 300), SHAPE another shape
# (tiny, to try this script). The exit status is 1 if any run failed. MODEL, a diffusers folder of FLUX.1's sizes
# (tools/gpu/random_flux.py writes one), takes the place of random weights where sections are about FLUX.1 [dev]: its files load in a
# second, random weights take fifteen.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
program=$(realpath "${FLUXSWAP:-build/gpu/fluxswap}")
out=${OUT:-out}
images=${IMAGES:-10}
limit=${MAX_SECONDS:-300}
failed=0
mkdir -p "$out"
[ -x "$program" ] || { echo "bench: $program is missing; run scripts/gpu/pack.sh first, or set FLUXSWAP" >&2; exit 2; }

say() { echo "$*" | tee -a "$out/bench.txt"; }

# measure SHAPE COMMAND ARGUMENTS...: a run of `fluxswap bench`.
measure() {
  local start=$SECONDS status=0 shape=${SHAPE:-$1} weights
  shift
  if [ -n "${MODEL:-}" ] && [ "$shape" = flux-dev ]; then weights=(--model "$MODEL"); else weights=(--random-weights --shape "$shape"); fi
  python3 tools/gpu/gpu_clocks.py timeout "$limit" "$program" bench "$@" "${weights[@]}" --log "$out/bench.jsonl" 2>&1 </dev/null |
    tee -a "$out/bench.txt"
  status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || failed=1
  say "bench $*: status $status, $((SECONDS - start)) s"
  say ""
}

section() {
  local fast=${ROWS:-fp8-unmerged,fp8-e4m3}  # the default, and the fastest
  case $1 in
    image)
      # In three runs, so that each fits a limit of time.
      if [ -n "${ROWS:-}" ]; then measure flux-dev image --images "$images" --rows "$ROWS"; return; fi
      measure flux-dev image --images "$images" --rows baseline,graph,attention,bf16-merged,t5,clip
      measure flux-dev image --images "$images" \
        --rows fp8,fp8-merged,fp8-e4m3,fp8-swap,fp8-merged-no-adapter
      measure flux-dev image --images "$images" \
        --rows fp8-unmerged,fp8-unmerged-128,fp8-unmerged-bf16,fp8-unmerged-swap,fp8-unmerged-small,fp8-no-adapter
      ;;
    swap) measure flux-dev swap --swaps "${SWAPS:-100}" --steps 4 ;;
    transformer) measure flux-dev transformer --rows "${ROWS:-$fast,bf16-merged}" --images 3 --profile ;;
    sizes)
      measure flux-dev image --rows "$fast" --images 5 --width 512 --height 512
      measure flux-dev image --rows "$fast" --images 5 --width 768 --height 1344
      measure flux-dev image --rows "$fast" --images 3 --batch 2
      measure flux-dev image --rows "$fast" --images 3 --batch 4
      measure flux-schnell image --rows "$fast" --images "$images" --steps 4 --max-sequence-length 256
      ;;
    load) measure flux-dev load ;;
    *) echo "bench: expected image, swap, transformer, sizes or load, found '$1'" >&2; exit 2 ;;
  esac
}

find_cuda_libraries
say "date: $(date -u +%FT%TZ)"
say "gpu: $(describe_gpu)"
[ $# -gt 0 ] || set -- image swap transformer sizes load
for name in "$@"; do section "$name"; done
exit "$failed"
