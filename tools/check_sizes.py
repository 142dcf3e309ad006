#!/usr/bin/env python3
"""Keeps files small: the limits fail the build, not the reviewer.

    tools/check_sizes.py [--root FOLDER]

In src/, include/, apps/ and bench/ a file over 400 lines is a warning and over 600 an error, a header over 250 an
error; in tests/ a file over 600 lines is a warning. Prints `file: what is wrong` and exits with 1 on an error.
"""

import argparse
import sys
from pathlib import Path

WARN_LINES = 400
MAX_LINES = 600
MAX_HEADER_LINES = 250
WARN_TEST_LINES = 600
HEADERS = {".h", ".cuh"}
SOURCES = HEADERS | {".cc", ".cu", ".inc"}


def check_file(path, lines, header, test):
    """(is it an error, message) or None."""
    if test:
        return (False, f"{path}: {lines} lines, at most {WARN_TEST_LINES} are good") if lines > WARN_TEST_LINES else None
    limit = MAX_HEADER_LINES if header else MAX_LINES
    if lines > limit:
        return True, f"{path}: {lines} lines, at most {limit} are allowed"
    if lines > WARN_LINES:
        return False, f"{path}: {lines} lines, at most {WARN_LINES} are good"
    return None


def main():
    parser = argparse.ArgumentParser(description="Checks the lengths of source files.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root.resolve()
    failed = False
    for top in ("src", "include", "apps", "bench", "tests"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in SOURCES:
                continue
            lines = len(file.read_text(encoding="utf-8").splitlines())
            found = check_file(file.relative_to(root).as_posix(), lines, file.suffix in HEADERS, top == "tests")
            if found:
                print(f"{'error' if found[0] else 'warning'}: {found[1]}")
                failed |= found[0]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
