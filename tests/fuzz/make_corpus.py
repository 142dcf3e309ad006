"""Writes the seed corpus of fuzz_safetensors: small files, good and bad, with and without their 8 bytes of length.

usage: python3 tests/fuzz/make_corpus.py FOLDER
"""
import json
import pathlib
import struct
import sys


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "none": ({}, 0),
    "one": ({"a": tensor("F32", [2, 2], 0, 16)}, 16),
    "metadata": ({"__metadata__": {"format": "pt", "ü": "\n"}, "a": tensor("BF16", [3], 0, 6)}, 6),
    "several": ({"b": tensor("F16", [1, 2, 1, 2, 1], 4, 12), "a": tensor("I8", [4], 0, 4),
                 "c": tensor("F8_E4M3", [0, 9], 12, 12), "d": tensor("BOOL", [], 12, 13)}, 13),
    "unknown field": ({"a": {**tensor("U64", [1], 0, 8), "more": [1, {"x": [None, True, -1.5]}]}}, 8),
    "gap": ({"a": tensor("U8", [1], 1, 2)}, 2),
    "overlap": ({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, 3),
    "unknown dtype": ({"a": tensor("Q4_K", [1], 0, 1)}, 1),
    "overflow": ({"a": tensor("F64", [2**62, 2**62], 0, 2**64 - 1)}, 0),
    "wrong kinds": ({"a": [], "__metadata__": {"k": 1}}, 0),
}
FILES = {
    "page": b"<!doctype html><html></html>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "zip": b"PK\x03\x04" + bytes(20),
    "pickle": b"\x80\x02}q\x00.",
    "gguf": b"GGUF\x03" + bytes(20),
    "twice": b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
             b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, (header, data_bytes) in HEADERS.items():
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        (folder / f"{name} bare").write_bytes(text + bytes(data_bytes))
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + bytes(data_bytes))
    for name, contents in FILES.items():
        (folder / name).write_bytes(contents)


if __name__ == "__main__":
    main()
