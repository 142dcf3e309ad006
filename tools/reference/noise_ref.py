"""Writes tests/data/noise.json: what torch.randn draws on a CPU.

Per seed, size and dtype, one hash of all values (as little-endian f32) and the first few.

usage: python tools/reference/noise_ref.py [OUT.json]

Needs an x86 CPU with AVX2: the f32 numbers are defined by torch's AVX2 kernel.
"""
import hashlib
import json
import pathlib
import sys

import torch

SEEDS = [0, 1, 2, 7, 42, 1234, 99999, 20240801, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 123456789012345,
         2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -42, -2**63]
SHAPES = [(1,), (2,), (15,), (16,), (17,), (31,), (100,), (1, 16, 32, 32), (1, 16, 48, 84), (1, 16, 128, 128)]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
SHOWN = 4


def draw(seed, shape, dtype):
    torch.manual_seed(seed)
    return torch.randn(shape, dtype=dtype).float().flatten()


def main():
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        sys.exit("noise_ref.py: this CPU (or ATEN_CPU_CAPABILITY) keeps torch from its AVX2 kernel")
    cases = []
    for name, dtype in DTYPES.items():
        for seed in SEEDS:
            for shape in SHAPES:
                values = draw(seed, shape, dtype)
                cases.append({"dtype": name, "seed": str(seed), "count": values.numel(),
                              "sha256": hashlib.sha256(values.numpy().astype("<f4").tobytes()).hexdigest(),
                              "first": values[:SHOWN].tolist()})
    default = pathlib.Path(__file__).parents[2] / "tests/data/noise.json"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    out.write_text(f'{{"torch":"{torch.__version__}","cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
