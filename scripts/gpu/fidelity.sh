#!/usr/bin/env bash
# What bf16 and fp8 cost the demo model's pictures, on a machine with a GPU; takes a minute and a half at most.
#   scripts/gpu/fidelity.sh [ARGUMENTS of tools/gpu/demo_fidelity.py]
# Tables and numbers go to $OUT (default: out). DRAW_PROMPTS is the program that draws (default build/gpu/draw_prompts as
# scripts/gpu/pack.sh collects it, or that of build/cuda). Needs Python with numpy, scipy and pillow; wheels in .whl/ are installed for
# this run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/gpu/python_side.sh
source scripts/gpu/python_side.sh
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
out=${OUT:-out}
mkdir -p "$out"
use_carried_wheels
find_cuda_libraries

program=
for candidate in "${DRAW_PROMPTS:-build/gpu/draw_prompts}" build/cuda/bench/draw_prompts; do
  if [ -x "$candidate" ]; then program=$(realpath "$candidate"); break; fi
done
[ -n "$program" ] || { echo "fidelity: expected a program at build/gpu/draw_prompts; run scripts/gpu/pack.sh, or set DRAW_PROMPTS" >&2; exit 1; }
python3 tools/gpu/demo_fidelity.py --program "$program" --out "$out" "$@" 2>&1 | tee "$out/fidelity.log"
