#!/usr/bin/env bash
# scripts/common.sh: a step that fails is named, shown and final; one that works is quiet.
#   steps_test.sh REPOSITORY
set -euo pipefail
common=$1/scripts/common.sh
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

run() { # run BODY: BODY in a fresh shell with the shared functions
  bash -c 'set -euo pipefail; script=sample; source "$0"; logs=$1; eval "$2"' "$common" "$logs" "$1" 2>&1
}
expect() { # expect WHAT TEXT OUTPUT
  grep -qF -- "$2" <<<"$3" || { echo "$1: expected '$2' in: $3" >&2; exit 1; }
}

output=$(run 'step one echo chatter; step "two words" true; echo end')
expect "a good step" "sample: two words ... 0 s" "$output"
expect "a good step" "end" "$output"
grep -q chatter <<<"$output" && { echo "a good step is not quiet: $output" >&2; exit 1; }

status=0
output=$(run 'step bad bash -c "echo the reason; exit 7"; echo end') || status=$?
[ "$status" -eq 1 ] || { echo "a failing step: expected status 1, found $status" >&2; exit 1; }
expect "a failing step" "the reason" "$output"
expect "a failing step" "sample: step 'bad' failed with status 7" "$output"
grep -q '^end' <<<"$output" && { echo "a failing step is not final: $output" >&2; exit 1; }

status=0
output=$(run 'visible_step shown bash -c "echo picture; exit 3"; echo end') || status=$?
expect "a visible step" "picture" "$output"
expect "a visible step" "sample: step 'shown' failed with status 3" "$output"
[ "$status" -eq 1 ] || { echo "a visible step: expected status 1, found $status" >&2; exit 1; }

count=$(run jobs)
[ "$count" -ge 1 ] && [ "$count" -le "$(nproc)" ] || { echo "jobs: expected 1 to $(nproc), found $count" >&2; exit 1; }
