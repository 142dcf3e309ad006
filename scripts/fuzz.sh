#!/usr/bin/env bash
# Fuzzes the safetensors reader under ASan and UBSan: scripts/fuzz.sh [SECONDS, default 60]
# A finding stops the run with a status other than 0 and lies in build/fuzz/ as crash-*; run the program on it again with
#   build/fuzz/tests/fuzz/fuzz_safetensors build/fuzz/crash-...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
  echo "fuzz: expected a number of seconds above 0, found '$seconds'" >&2
  exit 2
fi

cmake --preset fuzz
cmake --build build/fuzz --target fuzz_safetensors
python3 tests/fuzz/make_corpus.py build/fuzz/seeds
mkdir -p build/fuzz/corpus # what earlier runs found worth keeping
build/fuzz/tests/fuzz/fuzz_safetensors -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
  -dict=tests/fuzz/safetensors.dict -artifact_prefix=build/fuzz/ -print_final_stats=1 build/fuzz/corpus build/fuzz/seeds
