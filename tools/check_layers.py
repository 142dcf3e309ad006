#!/usr/bin/env python3
"""Checks who includes whom: the table of layers in DESIGN.md, section 1.

    tools/check_layers.py [--root FOLDER]

Prints `file:line: what is wrong` for each violation in src/, include/, apps/, bench/ and tests/, and exits with 1.
"""

import argparse
import re
import sys
from pathlib import Path

# Folder of src/ -> the folders it may include, besides itself.
ALLOWED = {
    "core": set(),
    "io": {"core"},
    "text": {"core"},
    "quant": {"core"},
    "sampling": {"core"},
    "planner": {"core"},
    "weights": {"core", "io", "quant"},
    "ops": {"core", "quant"},
    "nn": {"core", "io", "quant", "weights", "ops"},
    "backends": {"core", "quant", "ops"},
    "models": {"core", "ops", "nn"},
    "lora": {"core", "io", "weights", "ops", "nn"},
    "offload": {"core", "planner", "ops", "nn"},
    "pipeline": {"core", "io", "text", "quant", "sampling", "planner", "weights", "ops", "nn", "models", "lora",
                 "offload"},
}

# (pattern of an included header, what it is, is it allowed in this file?)
FOREIGN = [
    (re.compile(r"nlohmann/"), "JSON",
     lambda path: not path.startswith(("src/core/", "src/ops/", "src/nn/", "src/models/", "src/backends/"))),
    (re.compile(r"sentencepiece"), "sentencepiece", lambda path: path.startswith("src/text/")),
    (re.compile(r"(cuda|cublas|cudnn|cufft|curand|nvrtc|nvToolsExt|cutlass|cute/)"), "CUDA",
     lambda path: path.startswith(("src/backends/cuda/", "tests/"))),
    (re.compile(r"httplib"), "HTTP", lambda path: path.startswith(("apps/server/", "tests/"))),
]

# The seam that chooses a back-end.
FACTORY = "backends/make_ops.h"
FACTORY_USERS = ("apps/", "bench/", "tests/", "src/backends/")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CUDA_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|elifdef|elifndef)\b.*CUDA")
LINKED = re.compile(r"\bfx_(\w+)")
SOURCES = {".cc", ".h", ".cu", ".cuh", ".inc"}


def backend_of(path):
    """The back-end that a path under src/ belongs to, or None: make_ops.h belongs to none."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "backends" else None


def include_problem(path, header, quoted):
    """What is wrong with this include of the file at `path` (relative to the root), or None."""
    for pattern, what, allowed in FOREIGN:
        if pattern.match(header) and not allowed(path):
            return f"{what} header {header} is not allowed here"
    if header == FACTORY and not path.startswith(FACTORY_USERS):
        return f"{header} is only for {', '.join(FACTORY_USERS)}"
    top = path.split("/")[0]
    if top == "include":
        return f"public headers stand alone, found {header}" if quoted and not header.startswith("fluxswap/") else None
    if top != "src":
        return None
    if not quoted:
        return None
    layer, target = path.split("/")[1], header.split("/")[0]
    if header.startswith("fluxswap/"):
        return None if layer == "pipeline" else "the public header is for src/pipeline and applications"
    if target not in ALLOWED:
        return f"include of {header} is not written relative to src/"
    if target != layer and target not in ALLOWED[layer]:
        return f"src/{layer} must not include {header}"
    inside = path[len("src/"):]
    if layer == target == "backends" and backend_of(header) not in (None, backend_of(inside)):
        return f"back-ends do not include each other: {header}"
    return None


def check_source(root, file, report):
    path = file.relative_to(root).as_posix()
    in_src = path.startswith("src/")
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        found = INCLUDE.match(line)
        problem = include_problem(path, found[2], found[1] == '"') if found else None
        # Kernels may ask for which card they are being compiled.
        of_kernel = path.startswith("src/backends/cuda/") and "__CUDA_ARCH__" in line
        if in_src and CUDA_CONDITION.match(line) and not of_kernel:
            problem = "no condition on CUDA in src/: link the back-end or its stub"
        if problem:
            report(f"{path}:{number}: {problem}")


def check_links(root, file, report):
    """A folder's target links its own row of the table and nothing else."""
    path = file.relative_to(root).as_posix()
    layer = path.split("/")[1]
    if layer not in ALLOWED:
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        for target in LINKED.findall(line.split("#")[0]):
            linked = "backends" if target.startswith("backend_") else target
            if linked in ALLOWED and linked != layer and linked not in ALLOWED[layer]:
                report(f"{path}:{number}: src/{layer} must not link fx_{target}")


def check_tree(root, report):
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and folder.name not in ALLOWED:
            report(f"src/{folder.name}:1: this folder is not in the table of layers")
    for top in ("src", "include", "apps", "bench", "tests"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in SOURCES and (top != "src" or file.relative_to(root).parts[1] in ALLOWED):
                check_source(root, file, report)
            elif top == "src" and file.name == "CMakeLists.txt" and file.parent != root / "src":
                check_links(root, file, report)


def main():
    parser = argparse.ArgumentParser(description="Checks the includes of src/ against the table of layers.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    problems = []
    check_tree(parser.parse_args().root.resolve(), problems.append)
    for problem in problems:
        print(problem)
    if problems:
        print(f"check_layers: {len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
