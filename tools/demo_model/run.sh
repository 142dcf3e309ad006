#!/usr/bin/env bash
# Trains the demo model: tokenizers, text encoders, VAE, transformer, adapters, evaluation.
#   tools/demo_model/run.sh OUT_DIR
# Minutes per stage are in the variables below. RESUME=1 keeps what OUT_DIR holds (tokenizers, text encoders, VAE) and
# goes on training its transformer; the adapters are then trained again, since they belong to one base.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?folder for the model}
gpus=${GPUS:-2} text=${TEXT_MINUTES:-1} vae=${VAE_MINUTES:-5} decoder=${DECODER_MINUTES:-1} base=${BASE_MINUTES:-10}
lora=${LORA_MINUTES:-1} python=${PYTHON:-python3}
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
team() { "$python" -m torch.distributed.run --standalone --nproc-per-node="$gpus" "$@"; }

mkdir -p "$out/loras"
resume=()
if [ "${RESUME:-0}" = 1 ]; then
  resume=(--resume-from "$out")
else
  "$python" "$here/build_tokenizers.py" --out "$out" --seed 11
  "$python" "$here/pretrain_text.py" --model "$out" --minutes "$text" --batch 512 --workers 14 --seed 1
  team "$here/train_vae.py" --out "$out" --minutes "$vae" --seed 1
  "$python" "$here/train_vae.py" --out "$out" --decoder-only --minutes "$decoder" --rate 5e-4 --batch 24 --seed 5
fi
team "$here/train_base.py" --model "$out" --minutes "$base" --seed 1 --compile "${resume[@]}"

# Every adapter is one process; four share a GPU well, because each alone waits for its CPU most of the time.
names=(pixel pencil neon watercolor blueprint sunset stripes zorb) jobs=()
for i in "${!names[@]}"; do
  CUDA_VISIBLE_DEVICES=$((i % gpus)) "$python" "$here/train_lora.py" --model "$out" --minutes-each "$lora" --only "${names[$i]}" --seed 1 &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
"$python" "$here/evaluate.py" --model "$out" --out "$out/evaluation.json" --prompts "$out/prompts.json" --sheet "$out/sheet.png"
