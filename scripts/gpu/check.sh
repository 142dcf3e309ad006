#!/usr/bin/env bash
# The CUDA back-end on a machine with a GPU: parity, golden and property tests, those again as older cards compute, then our
# kernels under compute-sanitizer.
#   scripts/gpu/check.sh [FOLDER]      test programs as scripts/gpu/pack.sh collects them; default: build/gpu
# $OUT (default: out) gets summary.txt and check.log, with the output of all runs. The exit status is 1 if anything failed, or was skipped: a test that did not
# run proves nothing. Without compute-sanitizer, or where it refuses the device, the summary says so and the status is 1.
# MAX_SECONDS (default 120) limits each run.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
# shellcheck source=scripts/gpu/common.sh
source scripts/gpu/common.sh
programs=$(realpath "${1:-build/gpu}")
out=${OUT:-out}
limit=${MAX_SECONDS:-120}
mkdir -p "$out"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
summary=$out/summary.txt
export FLUXSWAP_SOURCE_DIR=$PWD
failed=0

say() { echo "$*" | tee -a "$summary"; }

# run NAME COMMAND...: one line in the summary, with the first tests that failed or were skipped below it.
run() {
  local name=$1 log=$logs/$1.log start=$SECONDS status=0 passed skipped
  shift
  timeout "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
  passed=$(grep -c '^\[       OK \]' "$log")
  skipped=$(grep -c '^\[  SKIPPED \].*ms)$' "$log")
  if [ "$status" -ne 0 ] || [ "$skipped" -gt 0 ] || [ "$passed" -eq 0 ]; then failed=1; fi
  say "$name: status $status, $passed passed, $skipped skipped, $(grep -c '^\[  FAILED  \].*ms)$' "$log") failed, $((SECONDS - start)) s"
  grep -E '^\[  (FAILED |SKIPPED) \].*ms\)$' "$log" | head -n 12 | sed 's/^/  /' | tee -a "$summary"
  { echo "==== $name: $*"; cat "$log"; } >>"$out/check.log"
}

# sanitize TOOL COMMAND...: programs that fault on purpose (bad ids and steps) do it without leaving their memory.
sanitize() {
  local tool=$1
  shift
  run "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all "$@"
  say "  $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|not supported' "$logs/sanitizer-$tool.log" | tail -n 1)"
}

: >"$summary"
: >"$out/check.log"
find_cuda_libraries
say "date: $(date -u +%FT%TZ)"
say "gpu: $(describe_gpu)"

run parity "$programs/cuda_test"
run properties "$programs/ops_test" --gtest_filter='*/cuda'
run golden "$programs/golden_test" --gtest_filter='*/cuda*'
run pictures "$programs/property_test" --gtest_filter='*/cuda*'
# Before Hopper there are no products of e4m3 with a scale for each row: Ampere and Ada take one way. Single products as they
# compute them are in cuda_test.
run pictures-80 env FLUXSWAP_CAPABILITY_LIMIT=80 "$programs/property_test" --gtest_filter='*/cuda_fp8*'

# One case of each kind of kernel; the sanitizers slow programs down by two orders of magnitude. cuBLASLt and the graphs
# are not ours, so only direct calls run.
cases='*CudaParity.AllocatesOnce/*:*CudaLowPrecision.AllocatesOnce/*'
cases="$cases:CudaAttention.*:CudaValueMeans.*:CudaFold.*"
small="$cases:-*511*:*m600*:*m200*:*deep*:*wide*:*l600*"
if command -v compute-sanitizer >/dev/null; then
  sanitize memcheck "$programs/cuda_test" --gtest_filter="$small"
  # cuBLASLt's own kernels are reported as races, so low-precision products are left out.
  libraries="CudaAttention*:*CudaLowPrecision*linear*:*CudaLowPrecision*attention*:*CudaLowPrecision*conv*"
  sanitize racecheck "$programs/cuda_test" --gtest_filter="$small:$libraries"
  # What libraries write with the bulk copy engine is taken for memory that nobody wrote: attention in e4m3, and products
  # that a pass of ours reads, as those are whose bias is of a mean and has no gate.
  read_again="CudaAttention*:*attention_e4m3*:*front_mean_b*:*front_given_mean_b*"
  for kind in b no_bias gelu given split lora_b lora_none; do read_again="$read_again:*fp8_mean_$kind*"; done
  sanitize initcheck "$programs/cuda_test" --gtest_filter="$small:$read_again"
else
  say "compute-sanitizer: not installed"
  failed=1
fi

if [ "$failed" -eq 0 ]; then say "check: everything passed"; else say "check: something failed or did not run; see $out"; fi
exit "$failed"
