# Shared by scripts that run Python on a machine with a GPU: the Python packages and the program they use. The working folder is the checkout.
# shellcheck shell=bash

export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

# Wheels in .whl/, for machines without a network.
use_carried_wheels() {
  compgen -G '.whl/*.whl' >/dev/null || return 0
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH=/tmp/site${PYTHONPATH:+:$PYTHONPATH}
}

fluxswap_program() {
  local program
  for program in "${FLUXSWAP:-build/gpu/fluxswap}" build/cuda/apps/cli/fluxswap; do
    if [ -x "$program" ]; then realpath "$program"; return; fi
  done
  echo "fluxswap: expected a program at build/gpu/fluxswap; run scripts/gpu/pack.sh, or set FLUXSWAP" >&2
  return 1
}
