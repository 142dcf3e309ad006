"""The command line of parity_full.py. Library only."""

import argparse
import pathlib

from parity_cases import CASES

STAGES = {"bf16": "diffusers bf16", "recipe fp8": "recipe fp8", "recipe fp8 + fa3": "recipe fp8 + fa3"}  # precision: column


def parse(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder that random_flux.py wrote")
    parser.add_argument("--fluxswap", type=pathlib.Path, help="program to compare; without it only the Python side runs")
    parser.add_argument("--fluxswap-precisions", nargs="*", default=["bf16", "fp8"], metavar="P",
                        help="default bf16 fp8; with -merged, -folded or -slots behind it for that way to hold adapters (fp8 alone is fp8-folded), "
                             "-bf16attention, and -e4m3modulation")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for tables and truth")
    parser.add_argument("--truth", type=pathlib.Path, help="folder with truth-*.safetensors of an earlier run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="adapters (default: all)")
    parser.add_argument("--sizes", nargs="+", default=["1024x1024", "768x1344"], metavar="WxH", help="most important first")
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 4, 28], help="0 is the output of one step (default 0 4 28)")
    parser.add_argument("--depth", type=int, default=2, help="how many steps aside of the most telling comparison to go (default 2; all 4)")
    parser.add_argument("--draws", type=int, default=1, metavar="N", help="draws of noise and embeddings (default 1)")
    parser.add_argument("--same-text", action="store_true", help="draws differ by their noise only")
    parser.add_argument("--stages", nargs="*", choices=list(STAGES), default=list(STAGES), help="of the Python side, besides f32")
    parser.add_argument("--text-tokens", type=int, default=512)
    parser.add_argument("--workers", type=int, default=0, help="processes of fluxswap at a time (default: what the GPU's memory allows)")
    parser.add_argument("--budget", type=float, default=540, help="seconds for everything (default 540)")
    parser.add_argument("--truth-budget", type=float, default=280, help="seconds for f32 (default 280)")
    parser.add_argument("--stage-budget", type=float, default=70, help="seconds for each other stage of the Python side (default 70)")
    parser.add_argument("--self-test", action="store_true", help="only prove that the truth is diffusers' f32 (small models)")
    options = parser.parse_args()
    if options.draws < 1:
        parser.error("--draws: expected at least 1")
    return options
