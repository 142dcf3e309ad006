"""Safetensors files whose bytes depend on their content only. Library only.

The safetensors library writes `__metadata__` in the order of a hash map that changes from run to run.
"""

import json

from safetensors.torch import save_file


def save_stable(tensors, path, metadata):
    save_file(tensors, path, metadata=metadata)
    sort_metadata(path)


def sort_metadata(path):
    """Rewrites the header in place with sorted metadata; it keeps its length, so no offset moves."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= size, "the header must not grow"
    path.write_bytes(data[:8] + text.ljust(size) + data[8 + size:])
