#!/usr/bin/env bash
# Fuzzes the safetensors reader, and for half the time that of adapters, under ASan and UBSan:
#   scripts/fuzz.sh [SECONDS, default 60]
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
cmake --build build/fuzz --target fuzz_safetensors fuzz_adapter
python3 tests/fuzz/make_corpus.py build/fuzz/seeds
mkdir -p build/fuzz/corpus build/fuzz/corpus_adapter # what earlier runs found worth keeping
common=(-timeout=10 -rss_limit_mb=2048 -artifact_prefix=build/fuzz/ -print_final_stats=1)
build/fuzz/tests/fuzz/fuzz_safetensors "${common[@]}" -max_total_time="$seconds" -max_len=4096 \
  -dict=tests/fuzz/safetensors.dict build/fuzz/corpus build/fuzz/seeds
build/fuzz/tests/fuzz/fuzz_adapter "${common[@]}" -max_total_time="$(((seconds + 1) / 2))" -max_len=8192 \
  -dict=tests/fuzz/adapter.dict build/fuzz/corpus_adapter tests/data/golden/lora-formats
