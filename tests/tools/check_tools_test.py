"""The checkers catch what they are for: each rule is broken once in a temporary tree."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run_on_tree(tool, files):
    """(exit status, output) of `tool` on a tree of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in {"src/core/fine.h": "#pragma once\n", **files}.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, TOOLS / tool, "--root", folder], capture_output=True, text=True)
        return done.returncode, done.stdout


class CheckLayers(unittest.TestCase):
    def assert_caught(self, path, line, words):
        status, output = run_on_tree("check_layers.py", {path: f"// first line\n{line}\n"})
        self.assertEqual(status, 1, output)
        self.assertIn(f"{path}:2: ", output)
        self.assertIn(words, output)

    def assert_fine(self, path, line):
        self.assertEqual(run_on_tree("check_layers.py", {path: line + "\n"}), (0, ""))

    def test_a_lower_layer_must_not_include_a_higher_one(self):
        self.assert_caught("src/core/a.cc", '#include "ops/ops.h"', "src/core must not include")
        self.assert_caught("src/models/flux/a.cc", '#include "io/safetensors.h"', "src/models must not include")
        self.assert_caught("src/pipeline/a.cc", '#include "backends/cpu/cpu_ops.h"', "src/pipeline must not include")
        self.assert_fine("src/nn/a.cc", '#include "weights/name_map.h"')

    def test_includes_are_relative_to_src(self):
        self.assert_caught("src/core/a.cc", '#include "tensor.h"', "relative to src/")

    def test_libraries_stay_in_their_folders(self):
        self.assert_caught("src/nn/a.h", "#include <nlohmann/json.hpp>", "JSON")
        self.assert_caught("src/io/a.cc", "#include <sentencepiece_processor.h>", "sentencepiece")
        self.assert_caught("src/core/a.cc", "#include <cuda_runtime.h>", "CUDA")
        self.assert_fine("src/text/a.cc", "#include <sentencepiece_processor.h>")

    def test_no_condition_on_cuda(self):
        self.assert_caught("src/core/a.cc", "#ifdef FLUXSWAP_CUDA", "CUDA")
        self.assert_caught("src/core/a.cc", "# if defined(USE_CUDA)", "CUDA")

    def test_back_ends_are_chosen_by_applications_only(self):
        self.assert_caught("src/backends/cpu/a.cc", '#include "backends/reference/ref_ops.h"', "each other")
        self.assert_caught("src/pipeline/a.cc", '#include "backends/make_ops.h"', "only for")
        self.assert_fine("apps/cli/a.cc", '#include "backends/make_ops.h"')
        self.assert_fine("src/backends/cpu/a.cc", '#include "backends/make_ops.h"')

    def test_public_headers_stand_alone(self):
        self.assert_caught("include/fluxswap/a.h", '#include "core/tensor.h"', "stand alone")
        self.assert_fine("include/fluxswap/a.h", '#include "fluxswap/b.h"')

    def test_targets_link_their_row(self):
        self.assert_caught("src/io/CMakeLists.txt", "fx_library(io SOURCES a.cc LIBS fx_core fx_ops)", "fx_ops")
        self.assert_fine("src/io/CMakeLists.txt", "fx_library(io SOURCES a.cc LIBS fx_core)")

    def test_every_folder_is_in_the_table(self):
        status, output = run_on_tree("check_layers.py", {"src/misc/a.cc": ""})
        self.assertEqual(status, 1)
        self.assertIn("src/misc:1:", output)


class CheckSizes(unittest.TestCase):
    def check(self, path, lines):
        return run_on_tree("check_sizes.py", {path: "x\n" * lines})

    def test_small_files_pass(self):
        self.assertEqual(self.check("src/core/a.cc", 400), (0, ""))
        self.assertEqual(self.check("src/core/a.h", 250), (0, ""))

    def test_limits(self):
        status, output = self.check("src/core/a.cc", 401)
        self.assertEqual((status, output[:8]), (0, "warning:"))
        self.assertEqual(self.check("src/core/a.cc", 601)[0], 1)
        self.assertEqual(self.check("bench/a.h", 251)[0], 1)
        status, output = self.check("tests/core/a.cc", 601)
        self.assertEqual((status, output[:8]), (0, "warning:"))


if __name__ == "__main__":
    unittest.main()
