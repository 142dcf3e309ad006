#!/usr/bin/env bash
# Installs from Debian what is missing, and nothing else: no network is touched when all is there.
#   scripts/install_dependencies.sh           what a build needs
#   scripts/install_dependencies.sh --tests   and what ./test needs besides (Python, clang with libFuzzer)
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev libpng-dev libssl-dev
  libutf8proc-dev libgtest-dev libgmock-dev libbenchmark-dev
)
test_packages=(python3 clang-14 libclang-rt-14-dev)

case "${1:-}" in
  '') ;;
  --tests) packages+=("${test_packages[@]}") ;;
  *) echo "install_dependencies: unknown argument '$1', expected none or --tests" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install_dependencies: not a Debian system; these have to be there: ${packages[*]}" >&2
  exit 0 # the configure step names what is missing
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p' || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install_dependencies: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "${missing[@]}"
