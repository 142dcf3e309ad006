#!/usr/bin/env bash
# Trains the demo model: tokenizers, text encoders, VAE, transformer, adapters, evaluation.
#   tools/demo_model/run.sh OUT_DIR
# Minutes per stage are in the variables below. KEEP_TEXT=1 keeps the tokenizers and text encoders that OUT_DIR holds,
# KEEP_VAE=1 its VAE too. COMPILE= (empty) trains without torch.compile, for a try on a CPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?folder for the model}
gpus=${GPUS:-1} text=${TEXT_MINUTES:-1} vae=${VAE_MINUTES:-5} base=${BASE_MINUTES:-8.5} lora=${LORA_MINUTES:-3}
python=${PYTHON:-python3}
compile=(${COMPILE---compile})
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
team() { "$python" -m torch.distributed.run --standalone --nproc-per-node="$gpus" "$@"; }

mkdir -p "$out/loras"
if [ "${KEEP_TEXT:-0}" != 1 ]; then
  "$python" "$here/build_tokenizers.py" --out "$out" --seed 11
  "$python" "$here/pretrain_text.py" --model "$out" --minutes "$text" --batch "${TEXT_BATCH:-512}" --workers "${WORKERS:-8}" --seed 1
fi
if [ "${KEEP_VAE:-0}" != 1 ]; then
  team "$here/train_vae.py" --out "$out" --minutes "$vae" --batch "${VAE_BATCH:-32}" --seed 1 "${compile[@]}"
  "$python" "$here/evaluate.py" --model "$out" --out "$out/evaluation.json" --part judge --limit "${JUDGED:-200}"
fi
team "$here/train_base.py" --model "$out" --minutes "$base" --batch "${BASE_BATCH:-256}" --pool "${POOL:-200}" --workers "${WORKERS:-8}" --seed 1 "${compile[@]}"

# Every adapter is one process; all share a GPU well, because each alone waits for its CPU most of the time.
names=(pixel pencil neon watercolor blueprint sunset stripes zorb) jobs=()
for i in "${!names[@]}"; do
  CUDA_VISIBLE_DEVICES=$((i % gpus)) "$python" "$here/train_lora.py" --model "$out" --minutes-each "$lora" --only "${names[$i]}" \
    --batch "${LORA_BATCH:-64}" --pool "${LORA_POOL:-4096}" --seed 1 &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
"$python" "$here/evaluate.py" --model "$out" --out "$out/evaluation.json" --prompts "$out/prompts.json" --sheet "$out/sheet.png" --limit "${JUDGED:-200}"
