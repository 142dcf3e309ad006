"""Makes the two tiny tokenizers that the tiny random models share, as files in the formats FLUX.1 publishes.

CLIP: byte-level byte-pair encoding in the order of the real vocabulary (256 bytes, 256 bytes + "</w>", merges, two special tokens).
T5: a unigram sentencepiece model with a handful of normalisation rules (so that the compiled character map is exercised), some
sentinels, `spiece.model` and the `tokenizer.json` that belongs to it.

Runs alone: `python tiny_tokenizers.py --out FOLDER` writes FOLDER/tokenizer and FOLDER/tokenizer_2.
"""

import argparse
import collections
import io
import json
import pathlib
import re
import tempfile

CLIP_MERGES = 120
CLIP_VOCAB_SIZE = 512 + CLIP_MERGES + 2
CLIP_START = CLIP_VOCAB_SIZE - 2
CLIP_END = CLIP_VOCAB_SIZE - 1
T5_PIECES = 220
T5_SENTINELS = 10
T5_VOCAB_SIZE = 256  # rows of the embedding: pieces + sentinels, padded as T5 pads

CORPUS = """
a small red star left of a large blue circle on a yellow background
a photo of an astronaut riding a horse on the moon, highly detailed, 8k
the quick brown fox jumps over the lazy dog while it rains in the old town
two green squares above a purple triangle, flat colours, soft light
portrait of a woman with silver hair, oil painting, 35mm, f/1.4 (masterpiece)
it's a cat's toy; they're playing, we've seen it, I'm sure he'll say "hello": don't!
black and white pencil drawing of a castle by the river at night - sharp, clean & quiet
caf\u00e9 na\u00efve fa\u00e7ade r\u00e9sum\u00e9 stra\u00dfe \u00fcber \u00e5ngstr\u00f6m se\u00f1or
0123456789 100% #1 @home 50/50 a+b=c <tag> [x] {y} ~ ^ | \\ $5 * ? _ `quote`
watercolour of mountains and a wooden bridge in autumn, warm orange leaves falling
neon sign that reads OPEN LATE in a dark alley, wet street, reflections
"""

# A few rules of the kind that real T5 normalisation has: full-width letters, ligatures, odd spaces, a decomposed accent.
NORMALISATION = {
    "\uff21": "A", "\uff42": "b", "\uff11": "1", "\ufb01": "fi", "\u2026": "...", "\u00a0": " ", "\u3000": " ",
    "\t": " ", "\n": " ", "e\u0301": "\u00e9", "\u2460": "1", "\u200b": "",
}


def bytes_to_unicode():
    """The printable stand-in for each byte, in the order of the GPT-2 and CLIP vocabularies."""
    kept = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    codes = kept + [256 + i for i in range(256 - len(kept))]
    order = kept + [b for b in range(256) if b not in kept]
    return dict(zip(order, map(chr, codes)))


def train_byte_pairs(corpus, count):
    """Plain byte-pair training: the most frequent pair first, ties by text, so the result never changes."""
    table = bytes_to_unicode()
    words = collections.Counter()
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_", corpus.lower()):
        symbols = [table[b] for b in word.encode()]
        words[tuple(symbols[:-1] + [symbols[-1] + "</w>"])] += 1
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = collections.Counter({_merge(word, best): times for word, times in words.items()})
    return merges


def _merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if word[i:i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_clip(folder, max_length=77):
    folder.mkdir(parents=True, exist_ok=True)
    letters = list(bytes_to_unicode().values())
    merges = train_byte_pairs(CORPUS, CLIP_MERGES)
    tokens = letters + [letter + "</w>" for letter in letters] + [a + b for a, b in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(tokens) == len(set(tokens)) == CLIP_VOCAB_SIZE
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2"] + [f"{a} {b}" for a, b in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    def special(text):
        return {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    names = {"bos_token": special("<|startoftext|>"), "eos_token": special("<|endoftext|>"),
             "pad_token": "<|endoftext|>", "unk_token": special("<|endoftext|>")}
    write_json(folder / "special_tokens_map.json", names)
    config = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": max_length,
              "tokenizer_class": "CLIPTokenizer"}
    for key, value in names.items():
        config[key] = {"__type": "AddedToken", **value} if isinstance(value, dict) else value
    write_json(folder / "tokenizer_config.json", config)


def write_t5(folder, files=("tokenizer.json", "spiece.model")):
    from transformers import T5TokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    model = train_unigram()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "spiece.model").write_bytes(model)
        _write_t5_config(scratch)
        text = T5TokenizerFast.from_pretrained(scratch).backend_tokenizer.to_str(pretty=False)
    if "tokenizer.json" in files:
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    if "spiece.model" in files:
        (folder / "spiece.model").write_bytes(model)
    _write_t5_config(folder)


def train_unigram():
    """The bytes of a sentencepiece model, without the paths of this run in it."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    rules = [" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) for a, b in NORMALISATION.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as table:
        table.write("\n".join(rules) + "\n")
        table.flush()
        writer = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter((CORPUS + CORPUS.upper()).strip().splitlines() * 3), model_writer=writer,
            vocab_size=T5_PIECES, model_type="unigram", character_coverage=1.0, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", normalization_rule_tsv=table.name, num_threads=1,
            minloglevel=2)
    model = sentencepiece_model_pb2.ModelProto.FromString(writer.getvalue())
    model.normalizer_spec.normalization_rule_tsv = ""
    return model.SerializeToString(deterministic=True)


def _write_t5_config(folder):
    sentinels = [f"<extra_id_{i}>" for i in range(T5_SENTINELS)]
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": sentinels}
    write_json(folder / "special_tokens_map.json", names)
    write_json(folder / "tokenizer_config.json",
               {**names, "extra_ids": T5_SENTINELS, "model_max_length": 512, "tokenizer_class": "T5Tokenizer"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    folder = parser.parse_args().out
    write_clip(folder / "tokenizer")
    write_t5(folder / "tokenizer_2")


if __name__ == "__main__":
    main()
