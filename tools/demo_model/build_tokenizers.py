"""Trains the demo model's two tokenizers on its own prompts and writes them in the layout FLUX.1 uses.

CLIP: byte-level BPE over all 256 bytes (vocab.json, merges.txt). T5: unigram (spiece.model and an equal tokenizer.json).

  python build_tokenizers.py --out MODEL_DIR [--seed 11]
"""
from __future__ import annotations

import argparse
import collections
import io
import json
import math
import random
import re
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from scenes import phrase, sample_training_scene, with_trigger_shape

CLIP_VOCAB = 900
# A model that meets a new word should not meet a new letter: words of the styles and of everyday prompts.
EXTRA_LINES = (
    "pixel art style, a blue heart", "pencil drawing of a star", "neon sign", "watercolor painting, watercolour",
    "striped stripes", "blueprint", "sunset silhouettes at dusk", "the quick brown fox jumps over the lazy dog",
    "a photo of a cat sitting on a wooden table next to the window", "zorb",
)


def corpus(lines: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    texts = []
    for i in range(lines):
        scene = sample_training_scene(rng)
        if i % 40 == 0:
            scene = with_trigger_shape(scene, rng)
        texts.append(phrase(scene, rng))
    return texts + list(EXTRA_LINES) * 4


def train_clip(texts: list[str], folder: Path) -> int:
    """The pieces of CLIP's own tokenizer (lower case, end-of-word mark), merges learned here."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(words), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=CLIP_VOCAB, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    merges = [m if isinstance(m, str) else " ".join(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    # Same order as CLIP's file: bytes, bytes that end a word, merges, specials.
    pieces = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(m.split(" ")) for m in merges]
    pieces = list(dict.fromkeys(pieces)) + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    special = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start = {**special, "content": "<|startoftext|>"}
    specials = {"bos_token": start, "eos_token": special, "pad_token": "<|endoftext|>", "unk_token": special}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")
    mark = lambda token: {"__type": "AddedToken", **token}
    config = {"add_prefix_space": False, "bos_token": mark(start), "do_lower_case": True, "eos_token": mark(special), "errors": "replace",
              "model_max_length": 77, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", "unk_token": mark(special)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return len(pieces)


def unigram_pieces(texts: list[str]) -> list[tuple[str, float]]:
    """Whole words by frequency, then every printable ASCII character as a fallback; the rest is <unk>, as in T5."""
    counts = collections.Counter(word for text in texts for word in re.findall(r"[A-Za-z]+|[^A-Za-z\s]", text))
    total = sum(counts.values())
    words = [("▁" + word, math.log(count / total)) for word, count in counts.most_common() if word.isalpha()]
    marks = [(mark, math.log(count / total)) for mark, count in counts.most_common() if not mark.isalpha()]
    listed = {piece for piece, _ in words + marks}
    letters = [(piece, -14.0) for piece in ["▁", *map(chr, range(33, 127))] if piece not in listed]
    return words + marks + letters


def train_t5(texts: list[str], folder: Path) -> int:
    """Identity normalisation keeps spiece.model and tokenizer.json small and exactly equal."""
    folder.mkdir(parents=True, exist_ok=True)
    blob = io.BytesIO()
    # The trainer writes a valid model file; its pieces then make way for whole words, which it splits on so small a corpus.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=blob, model_type="unigram", vocab_size=200, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>",
        normalization_rule_name="identity", character_coverage=1.0, num_threads=1, minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto.FromString(blob.getvalue())
    del proto.pieces[3:]
    for piece, score in unigram_pieces(texts):
        proto.pieces.add(piece=piece, score=score)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    (folder / "spiece.model").write_bytes(proto.SerializeToString())
    vocab = [(p.piece, p.score) for p in proto.pieces]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=2, byte_fallback=False))
    space = dict(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**space)])
    tokenizer.decoder = decoders.Metaspace(**space)
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 0, "additional_special_tokens": [],
              "model_max_length": 512, "tokenizer_class": "T5Tokenizer", "clean_up_tokenization_spaces": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    specials = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")
    return len(vocab)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    texts = corpus(20000, args.seed)
    clip = train_clip(texts, args.out / "tokenizer")
    t5 = train_t5(texts, args.out / "tokenizer_2")
    print(json.dumps({"clip_vocabulary": clip, "t5_vocabulary": t5}))


if __name__ == "__main__":
    main()
