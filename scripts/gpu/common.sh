# Shared by the scripts that run programs on a machine with a GPU.
# shellcheck shell=bash

# The folders of cuBLASLt and cuDNN where the loader does not look: the toolkit's, or those of Python packages, which keep
# them in site-packages/nvidia/*/lib.
find_cuda_libraries() {
  local library found
  for library in libcublasLt.so.13 libcudnn.so.9; do
    ldconfig -p 2>/dev/null | grep -q "$library" && continue
    found=$(find /usr/local /usr/lib /opt "$HOME/.local" "${VIRTUAL_ENV:-/opt}" -name "$library" 2>/dev/null | head -n 1) || true
    [ -z "$found" ] || export LD_LIBRARY_PATH="${found%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  done
}

# "NVIDIA H100 80GB HBM3, 580.65.06"
describe_gpu() {
  command -v nvidia-smi >/dev/null || { echo none; return; }
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1 | head -n 1
}
