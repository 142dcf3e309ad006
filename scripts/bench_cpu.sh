#!/usr/bin/env bash
# Time per step, start-up and peak memory beside diffusers in float32 on the same cores:
#   scripts/bench_cpu.sh PYTHON [FOLDER]
# PYTHON has the packages of tools/reference/requirements.txt; the mid-size model is written to FOLDER once
# (default: build/mid-model). Ours and theirs run in turns, three times each; the table has the medians.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:?usage: scripts/bench_cpu.sh PYTHON [FOLDER]}
mid=$(realpath -m "${2:-build/mid-model}")
threads=${THREADS:-2}
bench=build/release/bench/bench_pipeline
results=build/bench_cpu.jsonl

[ -x "$bench" ] || { echo "bench_cpu: $bench is missing; run ./test first" >&2; exit 1; }
[ -f "$mid/model_index.json" ] || (cd tools/reference && "$python" mid_model.py --dtype float32 --out "$mid")

: > "$results"
measure() {  # NAME MODEL WIDTH STEPS
  for _ in 1 2 3; do
    "$bench" "$2" --width "$3" --height "$3" --steps "$4" --threads "$threads" |
      "$python" -c "import json,sys; print(json.dumps({'who': 'fluxswap', 'name': '$1', **json.load(sys.stdin)}))" >> "$results"
    (cd tools/reference && "$python" cpu_bench.py --model "$2" \
      --width "$3" --height "$3" --steps "$4" --threads "$threads") 2>/dev/null |
      "$python" -c "import json,sys; print(json.dumps({'who': 'diffusers', 'name': '$1', **json.load(sys.stdin)}))" >> "$results"
  done
}
measure "mid-size (hidden 768, 3 + 6 blocks), 512 x 512" "$mid" 512 5
measure "demo model, 256 x 256" "$PWD/models/demo" 256 12

"$python" - "$results" <<'PY'
import json, statistics, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
print("| model | | s per step | start to first step, s | peak memory, MiB |\n|---|---|---|---|---|")
for name in dict.fromkeys(row["name"] for row in rows):
    found = {}
    for who in ("fluxswap", "diffusers"):
        mine = [row for row in rows if row["name"] == name and row["who"] == who]
        found[who] = [statistics.median(row[key] for row in mine)
                      for key in ("step_s_median", "start_to_first_step_s", "peak_rss_mib")]
        print(f"| {name} | {who} | {found[who][0]:.4f} | {found[who][1]:.2f} | {found[who][2]:.0f} |")
    ratios = [ours / theirs for ours, theirs in zip(found["fluxswap"], found["diffusers"])]
    print(f"| {name} | ratio | {ratios[0]:.2f} | {ratios[1]:.2f} ({1 / ratios[1]:.1f} times sooner) | {ratios[2]:.2f} |")
PY
