"""Makes the golden token ids of tests/text: tests/data/tokens_*.json and the small tokenizers in tests/data/tiny_tokenizers.

usage: python tools/reference/tokens_ref.py [--real FOLDER] [--out tests/data]

FOLDER holds the published vocabularies as FOLDER/clip (vocab.json, merges.txt, ...) and FOLDER/t5 (tokenizer.json, ...); without it
only the small tokenizers are done. Ids are those of the fast tokenizers, truncated to "max_length", without the padding. The truth
for a tokenizer.json is the file itself, run by the tokenizers library: transformers' T5Tokenizer would put its own steps in place of
those of the file. A tokenizer without one is what transformers makes of it.
"""
import argparse
import copy
import json
import pathlib
import shutil
import tempfile

import tiny_tokenizers
from token_prompts import ADDED, SPECIAL, all_prompts
from tokenizers import Tokenizer
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5TokenizerFast

CLIP_LENGTH, T5_LENGTH, SHORT = 77, 512, 9
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


def variants(t5):
    """Name -> (the tokenizer it starts from, values by JSON pointer, tokens to take from the vocabulary, add byte tokens)."""
    precompiled = t5["normalizer"]
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    sequence = lambda key, *steps: {"type": "Sequence", key: list(steps)}
    added = t5["added_tokens"] + [{"id": 300 + i, **t} for i, t in enumerate([
        token("[L]", lstrip=True), token("[R]", rstrip=True), token("fox", single_word=True, normalized=True)])]
    regex = lambda r, content: {"type": "Replace", "pattern": {"Regex": r}, "content": content}
    return {
        "t5 published": ("t5", {
            "/normalizer": sequence("normalizers", precompiled, {**strip, "strip_left": False}, regex(" {2,}", "\u2581")),
            "/pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True, "prepend_scheme": "first"}}, [], False),
        "t5 stripped first": ("t5", {
            "/normalizer": sequence("normalizers", precompiled, strip, {"type": "Lowercase"}),
            "/pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}}, [], False),
        "t5 nfkc whole": ("t5", {
            "/normalizer": sequence("normalizers", {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": "fox"}, "content": "cat"}),
            "/pre_tokenizer": {**METASPACE, "split": False, "prepend_scheme": "never"}}, [], False),
        "t5 old prefix": ("t5", {
            "/normalizer": {"type": "NFD"},
            "/pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": False, "prepend_scheme": "never"}}, [], False),
        "t5 no steps": ("t5", {
            "/normalizer": {"type": "Prepend", "prepend": "\u2581"}, "/pre_tokenizer": None,
            "/post_processor": {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<pad>", 0]}}, [], False),
        "t5 bytes": ("t5", {"/model/byte_fallback": True, "/normalizer": {"type": "NFKD"}}, [], True),
        "t5 added": ("t5", {
            "/normalizer": sequence("normalizers", precompiled, {"type": "Lowercase"}), "/added_tokens": added,
            "/post_processor": {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "pair", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"pair": {"id": "pair", "ids": [2, 0], "tokens": ["<unk>", "<pad>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}}, [], False),
        "clip json": ("clip", {}, [], False),
        "clip gpt2 words": ("clip", {
            "/normalizer": {"type": "NFC"}, "/model/ignore_merges": True,
            "/pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
            "/post_processor": sequence("processors", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, {
                "type": "RobertaProcessing", "sep": ["<|endoftext|>", 633], "cls": ["<|startoftext|>", 632], "trim_offsets": False, "add_prefix_space": False})}, [], False),
        "clip unknown": ("clip", {"/normalizer": regex(r"\s", " ")}, ["\u00f0", "\u00d0", "\u00e4", "\u00e4</w>"], False),
        "clip fused unknown": ("clip", {"/model/fuse_unk": True}, ["\u00f0", "\u00d0", "\u0141", "\u00e4"], False),
        "clip no unknown": ("clip", {"/model/unk_token": None, "/normalizer": regex(r"x{2}", "y")}, ["\u00f0", "\u00d0", "\u0141", "\u00e4"], False),
    }


def patched(base, values, dropped, add_bytes):
    result = copy.deepcopy(base)
    for pointer, value in values.items():
        *path, last = pointer.strip("/").split("/")
        node = result
        for key in path:
            node = node[key]
        node[last] = value
    for name in dropped:
        del result["model"]["vocab"][name]
    if add_bytes:
        result["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
    return result


def ids_of(tokenizer, prompts, length):
    """Of a transformers tokenizer or a tokenizers one."""
    if isinstance(tokenizer, Tokenizer):
        tokenizer.enable_truncation(length)
        return [tokenizer.encode(prompt).ids for prompt in prompts]
    return tokenizer(prompts, truncation=True, max_length=length)["input_ids"]


def write(path, value, lists):
    """Compact, one list of ids a line."""
    text = json.dumps(value, ensure_ascii=True)[:-1]
    for name, rows in lists.items():
        text += f",\n{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "]"
    path.write_text(text + "}\n")
    print(f"{path}: {path.stat().st_size} bytes")


def without(folder, names):
    """A copy of the folder that lacks some files."""
    copied = pathlib.Path(tempfile.mkdtemp()) / folder.name
    shutil.copytree(folder, copied, ignore=lambda _, files: [f for f in files if f in names])
    return copied


def make_tiny(out, prompts):
    folder = out / "tiny_tokenizers"
    tiny_tokenizers.write_clip(folder / "clip")
    tiny_tokenizers.write_t5(folder / "t5")
    clip = CLIPTokenizer.from_pretrained(folder / "clip")
    (folder / "clip_json").mkdir(exist_ok=True)
    (folder / "clip_json" / "tokenizer.json").write_text(json.dumps(json.loads(clip.backend_tokenizer.to_str())))
    shutil.copy(folder / "clip" / "tokenizer_config.json", folder / "clip_json")
    spiece = T5TokenizerFast.from_pretrained(without(folder / "t5", ["tokenizer.json"]))
    json_t5 = Tokenizer.from_file(str(folder / "t5" / "tokenizer.json"))
    full = {"clip": (clip, CLIP_LENGTH), "clip short": (clip, SHORT), "t5 spiece": (spiece, T5_LENGTH), "t5 json": (json_t5, T5_LENGTH)}
    some = list(dict.fromkeys([*ADDED, *SPECIAL[::3], *prompts[::5]]))
    bases = {"t5": json.loads((folder / "t5" / "tokenizer.json").read_text()), "clip": json.loads((folder / "clip_json" / "tokenizer.json").read_text())}
    described, rows = {}, {}
    for name, (base, values, dropped, add_bytes) in variants(bases["t5"]).items():
        described[name] = {"base": base, "set": values, "drop": dropped, "bytes": add_bytes}
        tokenizer = Tokenizer.from_str(json.dumps(patched(bases[base], values, dropped, add_bytes)))
        rows[name] = ids_of(tokenizer, some, CLIP_LENGTH)
    write(out / "tokens_tiny.json", {"lengths": {name: length for name, (_, length) in full.items()}},
          {name: ids_of(tokenizer, prompts, length) for name, (tokenizer, length) in full.items()})
    write(out / "tokens_variants.json", {"max_length": CLIP_LENGTH, "prompts": some, "variants": described}, rows)
    report_native(folder / "t5" / "spiece.model", spiece, prompts)


def report_native(model, tokenizer, prompts):
    """How far transformers' reading of a spiece.model is from sentencepiece itself; differences are unknown or control characters."""
    import sentencepiece

    native = sentencepiece.SentencePieceProcessor(model_file=str(model))
    plain = [p for p in prompts if "<" not in p]
    different = [p for p in plain if native.encode(p) + [1] != tokenizer([p])["input_ids"][0]]
    print(f"sentencepiece itself differs on {len(different)} of {len(plain)} prompts without special tokens: {different[:5]!a}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "tests" / "data")
    args = parser.parse_args()
    prompts = all_prompts()
    assert len(prompts) >= 300
    (args.out / "tokens_prompts.json").write_text("[\n" + ",\n".join(map(json.dumps, prompts)) + "]\n")
    make_tiny(args.out, prompts)
    if not args.real:
        return
    clip = CLIPTokenizer.from_pretrained(args.real / "clip")
    t5 = PreTrainedTokenizerFast(tokenizer_file=str(args.real / "t5" / "tokenizer.json"))
    write(args.out / "tokens_clip.json", {"max_length": CLIP_LENGTH}, {"ids": ids_of(clip, prompts, CLIP_LENGTH)})
    write(args.out / "tokens_t5.json", {"max_length": T5_LENGTH}, {"ids": ids_of(t5, prompts, T5_LENGTH)})
    own_steps = T5TokenizerFast.from_pretrained(args.real / "t5")
    pairs = list(zip(prompts, ids_of(t5, prompts, T5_LENGTH), ids_of(own_steps, prompts, T5_LENGTH)))
    print("prompts on which T5Tokenizer leaves its tokenizer.json:", sum(a != b for _, a, b in pairs),
          "; of these without a special token:", sum(a != b for p, a, b in pairs if "<" not in p))


if __name__ == "__main__":
    main()
