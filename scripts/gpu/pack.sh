#!/usr/bin/env bash
# Collects what scripts/gpu/check.sh needs on a machine with a GPU and nothing else: the test programs of the preset
# cuda-release, stripped, and the libraries they link. CUDA's driver and cuBLASLt must be there already.
#   scripts/gpu/pack.sh [BUILD [FOLDER]]      default: build/cuda, build/gpu
# The programs find their libraries beside them (the preset sets the rpath $ORIGIN).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/cuda}
folder=${2:-build/gpu}
max_mib=60
programs=(tests/parity/cuda_test tests/parity/ops_test tests/golden/golden_test tests/property/property_test apps/cli/fluxswap bench/draw_prompts)
# Every Linux has these, and mixing versions of them ends badly.
system='^(linux-vdso|ld-linux|libc|libm|libdl|libpthread|librt)[-.]'

rm -rf "$folder"
mkdir -p "$folder"
for program in "${programs[@]}"; do
  [ -x "$build/$program" ] || { echo "pack: $build/$program is missing; build the preset cuda-release first" >&2; exit 1; }
  strip -o "$folder/$(basename "$program")" "$build/$program"
  ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | while read -r name path; do
    [[ $name =~ $system ]] || cp -Lu "$path" "$folder/$name"
  done
done

size=$(du -sm "$folder" | cut -f1)
echo "pack: $folder has $(find "$folder" -type f | wc -l) files, $size MiB"
[ "$size" -lt "$max_mib" ] || { echo "pack: expected less than $max_mib MiB" >&2; exit 1; }
