"""Judges pictures kept in an .npz (uint8, (N, 256, 256, 3)) during training: check.py FILE.npz PROMPTS.json TAG"""
import json
import sys
from pathlib import Path

import numpy as np

from judge import judge, summarize


def main() -> None:
    file, prompts, tag = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    images = np.load(file)["images"].astype(np.float64)
    results = [judge(image, entry["scene"]) for image, entry in zip(images, json.loads(prompts.read_text()))]
    print("check", tag, json.dumps(summarize(results)), flush=True)


if __name__ == "__main__":
    main()
