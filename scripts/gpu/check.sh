#!/usr/bin/env bash
# The CUDA back-end on a machine with a GPU: parity, golden and property tests, then our kernels under compute-sanitizer.
#   scripts/gpu/check.sh [FOLDER]      test programs as scripts/gpu/pack.sh collects them; default: build/gpu
# Logs and a summary go to $OUT (default: out). The exit status is 1 if anything failed, or was skipped: a test that did not
# run proves nothing. Without compute-sanitizer, or where it refuses the device, the summary says so and the status is 1.
# MAX_SECONDS (default 120) limits each run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
programs=$(realpath "${1:-build/gpu}")
out=${OUT:-out}
limit=${MAX_SECONDS:-120}
mkdir -p "$out"
summary=$out/summary.txt
export FLUXSWAP_SOURCE_DIR=$PWD
failed=0

say() { echo "$*" | tee -a "$summary"; }

# The folder of cuBLASLt where the loader does not look: the toolkit's, or that of a Python package.
find_cublaslt() {
  ldconfig -p 2>/dev/null | grep -q 'libcublasLt.so.13' && return
  local found
  found=$(find /usr/local/cuda*/ /usr/lib /usr/local/lib /opt -name libcublasLt.so.13 2>/dev/null | head -n 1)
  [ -n "$found" ] && export LD_LIBRARY_PATH="${found%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

# run NAME COMMAND...: a log each, one line each in the summary.
run() {
  local name=$1 log=$out/$1.log start=$SECONDS status=0 passed skipped
  shift
  timeout "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
  passed=$(grep -c '^\[       OK \]' "$log")
  skipped=$(grep -c '^\[  SKIPPED \].*ms)$' "$log")
  if [ "$status" -ne 0 ] || [ "$skipped" -gt 0 ] || [ "$passed" -eq 0 ]; then failed=1; fi
  say "$name: status $status, $passed passed, $skipped skipped, $(grep -c '^\[  FAILED  \].*ms)$' "$log") failed, $((SECONDS - start)) s"
}

# sanitize TOOL COMMAND...: programs that fault on purpose (bad ids and steps) do it without leaving their memory.
sanitize() {
  local tool=$1
  shift
  run "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all "$@"
  say "  $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|not supported' "$out/sanitizer-$tool.log" | tail -n 1)"
}

: >"$summary"
find_cublaslt
say "date: $(date -u +%FT%TZ)"
say "gpu: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1 | head -n 1)"

run parity "$programs/cuda_test"
run properties "$programs/ops_test" --gtest_filter='*/cuda'
run golden "$programs/golden_test" --gtest_filter='*/cuda*'
run replay "$programs/property_test" --gtest_filter='*/cuda'

# One case of each kind of kernel; the sanitizers slow programs down by two orders of magnitude. cuBLASLt and the graphs
# are not ours, so only direct calls run.
cases='*CudaParity.AllocatesOnce/*'
small="$cases:-*511*:*m600*:*m200*:*deep*:*wide*:*l600*"
if command -v compute-sanitizer >/dev/null; then
  sanitize memcheck "$programs/cuda_test" --gtest_filter="$small"
  sanitize racecheck "$programs/cuda_test" --gtest_filter="$small"
  sanitize initcheck "$programs/cuda_test" --gtest_filter="$small"
else
  say "compute-sanitizer: not installed"
  failed=1
fi

if [ "$failed" -eq 0 ]; then say "check: everything passed"; else say "check: something failed or did not run; see $out"; fi
exit "$failed"
