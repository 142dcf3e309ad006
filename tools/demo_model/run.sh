#!/usr/bin/env bash
# Trains the demo model from nothing: tokenizers, VAE, base, adapters, evaluation.
#   tools/demo_model/run.sh OUT_DIR
# Times in minutes; the shipped model's are the defaults (two H200 GPUs).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?folder for the model}
gpus=${GPUS:-2} vae=${VAE_MINUTES:-3} base=${BASE_MINUTES:-11} lora=${LORA_MINUTES:-0.75} python=${PYTHON:-python3}
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
team() { "$python" -m torch.distributed.run --standalone --nproc-per-node="$gpus" "$@"; }

mkdir -p "$out"
"$python" "$here/build_tokenizers.py" --out "$out" --seed 11
team "$here/train_vae.py" --out "$out" --minutes "$vae" --seed 1 ${VAE_ARGS:-}
team "$here/train_base.py" --model "$out" --minutes "$base" --seed 1 --compile ${BASE_ARGS:-}
team "$here/train_lora.py" --model "$out" --minutes-each "$lora" --seed 1 ${LORA_ARGS:-}
"$python" "$here/evaluate.py" --model "$out" --out "$out/evaluation.json" --prompts "$out/prompts.json" --sheet "$out/sheet.png" ${EVAL_ARGS:-}
