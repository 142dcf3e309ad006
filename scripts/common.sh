# Shared by ./demo and ./test: steps that are quiet, timed, and named when they fail. The caller sets `script`.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$root/build/logs

# step NAME COMMAND...: runs the command with its output in a log; on failure shows the log's end and stops.
step() {
  local name=$1 log=$logs/$script-${1// /-}.log start=$SECONDS status=0
  shift
  mkdir -p "$logs"
  printf '%s: %s ... ' "$script" "$name"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    printf '%d s\n' $((SECONDS - start))
    return
  fi
  printf 'failed after %d s\n' $((SECONDS - start))
  tail -n "${STEP_TAIL:-40}" "$log" >&2
  printf "%s: step '%s' failed with status %d; see %s\n" "$script" "$name" "$status" "${log#"$root"/}" >&2
  exit 1
}

# visible_step NAME COMMAND...: the same for a command whose output is what the user came for.
visible_step() {
  local name=$1 status=0
  shift
  printf '%s: %s\n' "$script" "$name"
  "$@" </dev/null || status=$?
  [ "$status" -eq 0 ] && return
  printf "%s: step '%s' failed with status %d\n" "$script" "$name" "$status" >&2
  exit 1
}

# What a container may use can be less than what the machine has: FILE in cgroup v2, or nothing.
cgroup_limit() { grep -oE '^[0-9]+( [0-9]+)?$' "/sys/fs/cgroup/$1" 2>/dev/null || true; }

# Compiler processes at a time: one per core, and 1.5 GB of memory for each.
jobs() {
  local count memory quota period limit
  count=$(nproc)
  read -r quota period <<<"$(cgroup_limit cpu.max)" || true
  if [ -n "${period:-}" ] && [ $((quota / period)) -lt "$count" ]; then count=$((quota / period)); fi
  memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  limit=$(cgroup_limit memory.max)
  if [ -n "$limit" ] && [ $((limit / 1048576)) -lt "$memory" ]; then memory=$((limit / 1048576)); fi
  if [ $((memory / 1500)) -lt "$count" ]; then count=$((memory / 1500)); fi
  echo $((count > 0 ? count : 1))
}
