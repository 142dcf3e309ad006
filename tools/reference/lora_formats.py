"""Tiny adapter files in every format that is read, and what each means for a model.

    python lora_formats.py        writes tests/data/golden/lora-formats

For each file `expected/<name>.safetensors` has, for every parameter that the adapter changes, W' - W at strength 1 by the
original code's names, computed in float64 from the values in the file. Where diffusers and PEFT read the format (and are
right), their answer is compared here; elsewhere this script is the independent derivation. `base.safetensors` has the
weights to which DoRA and replacements refer. index.json says for each file which expectation it has and who confirmed it.

The model is that of tests/lora/tiny_model.h: width 16, MLP 64, two double and two single blocks.
"""

import json
import pathlib
import random
import struct

import numpy as np

import lora_formats_check
from lora_formats_names import BIG, CLIP, MODULES, NORMS, T5, diffusers_parts, rows

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests/data/golden/lora-formats"
WIDTH = 16
RNG = np.random.default_rng(20)
DTYPES = {np.dtype("f4"): "F32", np.dtype("f2"): "F16", np.dtype("i8"): "I64"}


class BF16(np.ndarray):
    """float32 values that bfloat16 has exactly."""


def bf16(values):
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32).view(BF16)


def write(path, tensors, metadata=None):
    """Keys and data in random order, as no library writes them."""
    names = sorted(tensors)
    random.Random(path.name).shuffle(names)
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name in names:
        value = tensors[name]
        raw = (value.view(np.uint32) >> 16).astype("<u2").tobytes() if isinstance(value, BF16) else value.tobytes()
        dtype = "BF16" if isinstance(value, BF16) else DTYPES[value.dtype]
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    random.Random(1).shuffle(names)
    header = {k: header[k] for k in (["__metadata__"] if metadata else []) + names}
    text = json.dumps(header, separators=(",", ":")).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def values(*shape, size=0.5):
    return np.asarray(RNG.normal(size=shape) * size, np.float32)


def number(value, dtype=np.float32):
    return np.array(value, dtype)


BASE = {name + ".weight": values(out, inner) for name, (out, inner) in MODULES.items() if name in BIG}
BASE |= {name: values(8) + 1 for name in NORMS}


class Expected(dict):
    """parameter -> what is added to it; parts of fused parameters add up."""

    def add(self, parameter, delta, begin=0):
        whole = self.setdefault(parameter, np.zeros(shape_of(parameter), np.float64))
        whole[begin:begin + delta.shape[0]] += delta
        return self


def shape_of(parameter):
    if parameter in NORMS:
        return (8,)
    module, _, kind = parameter.rpartition(".")
    size = {**MODULES, **CLIP, **T5}[module.split("/")[-1]]
    return size if kind == "weight" else size[:1]


def exchanged(matrix):
    half = matrix.shape[0] // 2
    return np.concatenate([matrix[half:], matrix[:half]])


def scaled_product(b, a, scale):
    return (np.asarray(b, np.float64) @ np.asarray(a, np.float64)) * np.float64(scale)


# ---- one adapter, written in many formats --------------------------------------------------------------------------

# original name -> (rank, alpha); fused modules share their A.
SHARED = {
    "double_blocks.0.img_attn.qkv": (3, 2.0), "double_blocks.1.txt_attn.qkv": (2, 5.0),
    "double_blocks.0.img_attn.proj": (2, 1.0), "double_blocks.1.txt_attn.proj": (1, 1.0),
    "double_blocks.1.img_mlp.0": (1, 0.5), "double_blocks.0.txt_mlp.2": (2, 3.0), "double_blocks.1.img_mod.lin": (1, -1.0),
    "double_blocks.0.txt_mod.lin": (1, 2.0), "single_blocks.0.linear1": (3, 1.0), "single_blocks.1.linear2": (2, 4.0),
    "single_blocks.0.modulation.lin": (1, 1.0), "img_in": (2, 1.0), "txt_in": (1, 3.0), "time_in.in_layer": (1, 1.0),
    "guidance_in.out_layer": (1, 2.0), "vector_in.in_layer": (1, 0.25), "final_layer.linear": (2, 1.0),
    "final_layer.adaLN_modulation.1": (2, 3.0),
}


def make_shared():
    return {name: (values(rank, MODULES[name][1]), values(MODULES[name][0], rank), alpha)
            for name, (rank, alpha) in SHARED.items()}


def expected_of(adapter):
    result = Expected()
    for name, (a, b, alpha) in adapter.items():
        result.add(name + ".weight", scaled_product(b, a, alpha / a.shape[0]))
    return result


def fused(adapter, spell, down, up, alpha):
    """Original names. `alpha` None folds the scale into B."""
    state = {}
    for name, (a, b, value) in adapter.items():
        key = spell(name)
        state[key + down] = a
        state[key + up] = b if alpha else np.asarray(b * np.float64(value / a.shape[0]), np.float32)
        if alpha:
            state[key + alpha] = number(value)
    return state


def sliced(adapter, spell, down, up, alpha, slices=False):
    """diffusers' names, or the original's with numbered slices; every slice has the whole A."""
    state = {}
    for name, (a, b, value) in adapter.items():
        for index, part in enumerate(diffusers_parts(name)):
            begin, count = rows(name, part.part)
            piece = b[begin:begin + count]
            if part.exchange and not slices:
                piece = exchanged(piece)
            number_of = f".{index}" if slices and part.part != "all" else ""
            key = spell(name + number_of if slices else part.diffusers)
            state[key + down] = a
            state[key + up] = piece if alpha else np.asarray(piece * np.float64(value / a.shape[0]), np.float32)
            if alpha:
                state[key + alpha] = number(value)
    return state


def under(prefix):
    return lambda name: prefix + name.replace(".", "_")


def dotted(prefix):
    return lambda name: prefix + name


def processor(name):
    if ".attn." not in name:
        return "transformer." + name
    return "transformer." + name.replace(".attn.", ".attn.processor.").replace(".to_out.0", ".to_out")


def shared_cases():
    s = make_shared()
    kohya = (".lora_down.weight", ".lora_up.weight", ".alpha")
    peft = (".lora_A.weight", ".lora_B.weight")
    old = (".lora.down.weight", ".lora.up.weight", ".alpha")
    cases = {
        "kohya": (fused(s, under("lora_unet_"), *kohya), "kohya", {"ss_network_module": "networks.lora_flux"}),
        "kohya-diffusers-names": (sliced(s, under("lora_unet_"), *kohya), "kohya", None),
        "kohya-stray-underscore": (sliced(s, lambda n: under("lora_unet_")(n) + "_", *kohya), "kohya", None),
        "diffusers-alpha": (sliced(s, dotted("transformer."), *peft, ".alpha"), "PEFT/diffusers", None),
        "diffusers-no-alpha": (sliced(s, dotted("transformer."), *peft, None), "PEFT/diffusers", None),
        "diffusers-no-prefix": (sliced(s, dotted(""), *peft, ".alpha"), "PEFT/diffusers", None),
        "diffusers-old": (sliced(s, dotted("transformer."), *old), "PEFT/diffusers", None),
        "diffusers-kohya-suffixes": (sliced(s, dotted("transformer."), *kohya), "PEFT/diffusers", None),
        "diffusers-processors": (sliced(s, processor, "_lora.down.weight", "_lora.up.weight", ".alpha"), "PEFT/diffusers", None),
        "adapter-name": (sliced(s, dotted("transformer."), ".lora_A.default.weight", ".lora_B.default.weight", ".alpha"),
                         "PEFT/diffusers", None),
        "peft-no-config": (sliced(s, dotted("base_model.model."), *peft, None), "PEFT", None),
        "ai-toolkit": (fused(s, dotted("diffusion_model."), *peft, None), "ai-toolkit/ComfyUI",
                       {"software": '{"name": "ai-toolkit"}'}),
        "diffusion-model-alpha": (fused(s, dotted("diffusion_model."), *peft, ".alpha"), "ai-toolkit/ComfyUI", None),
        "fal": (fused(s, dotted("base_model.model."), *peft, None), "fal", None),
        "bfl": (fused(s, dotted(""), *peft, ".alpha"), "BFL", None),
        "onetrainer": (sliced(s, under("lora_transformer_"), *kohya), "OneTrainer", {"ot_branch": "master"}),
        "onetrainer-newer": (sliced(s, dotted("transformer."), *kohya, slices=True), "OneTrainer (newer)", None),
        "lycoris": (sliced(s, under("lycoris_"), *kohya), "LyCORIS", None),
    }
    newer = cases["onetrainer-newer"][0]
    for key in [k for k in newer if k.startswith("transformer.img_in.")]:
        newer[key.replace("img_in", "img_in.proj")] = newer.pop(key)
    halves = list(SHARED)[::2]
    mixed = fused({n: s[n] for n in halves}, under("lora_unet_"), *kohya)
    mixed |= sliced({n: s[n] for n in SHARED if n not in halves}, dotted("transformer."), *peft, ".alpha")
    cases["mixed"] = (mixed, None, None)
    cases["scale-keys"] = ({k.replace(".alpha", ".scale"): number(np.float32(v / SHARED[k_name(k, s)][0])) if k.endswith(".alpha")
                            else v for k, v in cases["bfl"][0].items()}, "BFL", None)
    whole = sliced(s, dotted("transformer."), *peft, ".alpha")
    for block, names in (("transformer_blocks.0.attn.to_qkv", "transformer_blocks.0.attn.to_"),
                         ("transformer_blocks.1.attn.to_added_qkv", "transformer_blocks.1.attn.add_"),
                         ("single_transformer_blocks.0.attn.to_qkv", "single_transformer_blocks.0.attn.to_")):
        fuse_slices(whole, "transformer." + names, "transformer." + block)
    cases["diffusers-fused-qkv"] = (whole, "PEFT/diffusers", None)
    cases |= metadata_cases(s, peft)
    return {n: (state, "shared", expected_of(s), form, meta) for n, (state, form, meta) in cases.items()}


def k_name(key, adapter):
    return next(n for n in adapter if key.startswith(n + "."))


def fuse_slices(state, prefix, name):
    endings = ("q", "k", "v") if prefix.endswith("to_") else ("q_proj", "k_proj", "v_proj")
    parts = [state.pop(prefix + e + ".lora_B.weight") for e in endings]
    state[name + ".lora_B.weight"] = np.concatenate(parts)
    for e in endings:
        state[name + ".lora_A.weight"] = state.pop(prefix + e + ".lora_A.weight")
        state[name + ".alpha"] = state.pop(prefix + e + ".alpha")


def metadata_cases(s, peft):
    """The same scales from patterns in the header, or in adapter_config.json."""
    ranks, alphas, state = {}, {}, {}
    for name, (a, b, alpha) in s.items():
        for key in sliced({name: (a, b, alpha)}, dotted(""), *peft, None):
            module = key.split(".lora_")[0]
            ranks["^" + module], alphas["^" + module] = a.shape[0], alpha
    state = {k: v for k, v in sliced(s, dotted("transformer."), *peft, ".alpha").items() if not k.endswith(".alpha")}
    fields = {"r": 2, "lora_alpha": 1.0, "rank_pattern": ranks, "alpha_pattern": alphas, "use_rslora": False}
    meta = {"lora_adapter_metadata": json.dumps({"transformer." + k: v for k, v in fields.items()})}
    folder = {"base_model.model." + k.removeprefix("transformer."): v for k, v in state.items()}
    config = FOLDER / "peft-folder/adapter_config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(fields, indent=1) + "\n")
    return {"diffusers-metadata": (state, "PEFT/diffusers", meta), "peft-folder/adapter_model": (folder, "PEFT", None)}


# ---- what only one format has --------------------------------------------------------------------------------------

def pairs(names, spell, expected, dtype=np.float32):
    """Kohya keys of a dtype for original modules; alpha differs from the rank."""
    state = {}
    for i, name in enumerate(names):
        out, inner = MODULES[name]
        rank = 1 + i % 3
        cast = bf16 if dtype == "bf16" else (lambda v: np.asarray(v, dtype))
        a, b, alpha = cast(values(rank, inner)), cast(values(out, rank)), cast(number(0.75 + i))
        key = spell(name)
        state |= {key + ".lora_down.weight": a, key + ".lora_up.weight": b, key + ".alpha": alpha}
        expected.add(name + ".weight", scaled_product(b, a, np.float64(alpha) / rank))
    return state


def block_diagonal():
    """kohya's split_qkv: stacked A's of different ranks; B is zero off the diagonal blocks."""
    expected, state = Expected(), {}
    for name, ranks in (("double_blocks.0.img_attn.qkv", (1, 3, 2)), ("single_blocks.1.linear1", (1, 1, 2, 2))):
        total, at = sum(ranks), 0
        a, b = values(total, WIDTH), np.zeros((MODULES[name][0], total), np.float32)
        for part, rank in zip(("q", "k", "v", "mlp"), ranks):
            begin, count = rows(name, part)
            b[begin:begin + count, at:at + rank] = values(count, rank)
            at += rank
        key = under("lora_unet_")(name)
        state |= {key + ".lora_down.weight": a, key + ".lora_up.weight": b, key + ".alpha": number(2)}
        expected.add(name + ".weight", scaled_product(b, a, 2 / total))
    return state, expected, "kohya", None


def xlabs():
    expected, state = Expected(), {}
    for key, name in (("double_blocks.0.processor.qkv_lora1", "double_blocks.0.img_attn.qkv"),
                      ("double_blocks.1.processor.qkv_lora2", "double_blocks.1.txt_attn.qkv"),
                      ("double_blocks.0.processor.proj_lora1", "double_blocks.0.img_attn.proj"),
                      ("double_blocks.1.processor.proj_lora2", "double_blocks.1.txt_attn.proj"),
                      ("single_blocks.1.processor.qkv_lora", "single_blocks.1.linear1"),
                      ("single_blocks.0.processor.proj_lora", "single_blocks.0.linear2")):
        out = 3 * WIDTH if name.endswith("linear1") else MODULES[name][0]
        a, b = values(2, MODULES[name][1]), values(out, 2)
        state |= {key + ".down.weight": a, key + ".up.weight": b}
        expected.add(name + ".weight", scaled_product(b, a, 1))
    return state, expected, "XLabs", None


def control():
    """All parts of a control adapter, for a model whose image input is as wide as the adapter's."""
    expected, state = Expected(), {}
    for name in ("img_in", "double_blocks.0.img_attn.qkv", "single_blocks.1.linear1", "final_layer.adaLN_modulation.1"):
        out, inner = MODULES[name]
        a, b, bias = values(2, inner), values(out, 2), values(out)
        state |= {name + ".lora_A.weight": a, name + ".lora_B.weight": b, name + ".lora_B.bias": bias}
        expected.add(name + ".weight", scaled_product(b, a, 1)).add(name + ".bias", bias.astype(np.float64))
    for name in NORMS:
        state[name] = values(8) + 1
        expected.add(name, state[name].astype(np.float64) - BASE[name])
    return state, expected, "BFL control", None


def comfy():
    """The extraction node: F16 pairs, differences of what has no two axes, and zeros for what is the same."""
    expected = Expected()
    state = pairs(["double_blocks.0.img_attn.qkv", "final_layer.linear"], dotted("diffusion_model."), expected, np.float16)
    for key in [k for k in state if k.endswith(".alpha")]:
        module = key.removeprefix("diffusion_model.").removesuffix(".alpha")
        rank = state[key.replace(".alpha", ".lora_down.weight")].shape[0]
        expected[module + ".weight"] *= rank / np.float64(state.pop(key))
    norm = NORMS[0]
    parts = {norm.removesuffix(".scale") + ".scale.diff": (norm, values(8)),
             "double_blocks.0.img_attn.proj.diff": ("double_blocks.0.img_attn.proj.weight", values(16, 16)),
             "double_blocks.0.img_attn.proj.diff_b": ("double_blocks.0.img_attn.proj.bias", values(16)),
             "final_layer.adaLN_modulation.1.diff_b": ("final_layer.adaLN_modulation.1.bias", values(32))}
    for key, (parameter, delta) in parts.items():
        state["diffusion_model." + key] = delta.astype(np.float16)
        expected.add(parameter, delta.astype(np.float16).astype(np.float64))
    state["diffusion_model.single_blocks.0.linear2.diff_b"] = np.zeros(16, np.float16)
    state["text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.diff"] = np.zeros((8, 10), np.float16)
    state["text_encoders.clip_l.transformer.text_projection.lora_up.weight"] = np.zeros((10, 1), np.float16)
    state["text_encoders.clip_l.transformer.text_projection.lora_down.weight"] = values(1, 10).astype(np.float16)
    return state, expected, "ai-toolkit/ComfyUI + ComfyUI (difference)", None


def diffusers_slices():
    """Differences, biases and norms by diffusers' names: slices of fused parameters, and the exchanged halves."""
    expected, state = Expected(), {}
    k, v_bias, mod_b = values(16, 16), values(16), values(32)
    state["transformer.transformer_blocks.0.attn.to_k.diff"] = k
    state["transformer.transformer_blocks.0.attn.to_v.diff_b"] = v_bias
    state["transformer.norm_out.linear.diff_b"] = mod_b
    expected.add("double_blocks.0.img_attn.qkv.weight", k.astype(np.float64), 16)
    expected.add("double_blocks.0.img_attn.qkv.bias", v_bias.astype(np.float64), 32)
    expected.add("final_layer.adaLN_modulation.1.bias", exchanged(mod_b).astype(np.float64))
    a, b, bias = values(2, 16), values(64, 2), values(64)
    module = "transformer.single_transformer_blocks.1.proj_mlp"
    state |= {module + ".lora_A.weight": a, module + ".lora_B.weight": b, module + ".lora_B.bias": bias,
              module + ".alpha": number(3, np.int64)}
    expected.add("single_blocks.1.linear1.weight", scaled_product(b, a, 1.5), 48)
    expected.add("single_blocks.1.linear1.bias", bias.astype(np.float64) * 1.5, 48)
    gain, w_norm = values(8) + 1, values(8)
    state["transformer.transformer_blocks.0.attn.norm_q.weight"] = gain
    state["lycoris_single_transformer_blocks_1_attn_norm_k.w_norm"] = w_norm
    expected.add(NORMS[0], gain.astype(np.float64) - BASE[NORMS[0]])
    expected.add("single_blocks.1.norm.key_norm.scale", w_norm.astype(np.float64))
    return state, expected, None, None


def loha():
    expected, state = Expected(), {}
    for key, name, part, alpha in (("lora_unet_double_blocks_0_img_attn_qkv", "double_blocks.0.img_attn.qkv", "all", 2.5),
                                   ("lycoris_single_transformer_blocks_1_attn_to_v", "single_blocks.1.linear1", "v", None),
                                   ("transformer.norm_out.linear", "final_layer.adaLN_modulation.1", "all", 1.0)):
        begin, out = rows(name, part)
        inner, rank = MODULES[name][1], 2
        w1a, w1b, w2a, w2b = values(out, rank), values(rank, inner), values(out, rank), values(rank, inner)
        state |= {key + ".hada_w1_a": w1a, key + ".hada_w1_b": w1b, key + ".hada_w2_a": w2a, key + ".hada_w2_b": w2b}
        if alpha:
            state[key + ".alpha"] = number(alpha)
        delta = scaled_product(w1a, w1b, 1) * scaled_product(w2a, w2b, 1) * (alpha / rank if alpha else 1)
        expected.add(name + ".weight", exchanged(delta) if "norm_out" in key else delta, begin)
    return state, expected, None, None


def lokr():
    """Each form of the factors; blocks of 7 x 14 rows cross the borders of q, k, v and MLP."""
    expected, state = Expected(), {}
    forms = (("lora_unet_single_blocks_1_linear1", "single_blocks.1.linear1", "all", (8, 4), (14, 4), 0, 0, np.inf),
             ("lora_unet_double_blocks_0_img_attn_qkv", "double_blocks.0.img_attn.qkv", "all", (4, 2), (12, 8), 0, 2, 3.0),
             ("transformer.transformer_blocks.1.attn.add_k_proj", "double_blocks.1.txt_attn.qkv", "k", (4, 4), (4, 4), 2, 0, 1.0),
             ("lycoris_transformer_blocks_0_attn_to_out_0", "double_blocks.0.img_attn.proj", "all", (2, 4), (8, 4), 1, 2, 5.0),
             ("transformer.norm_out.linear", "final_layer.adaLN_modulation.1", "all", (2, 4), (16, 4), 0, 1, None))
    for key, name, part, (p, q), (u, v), r1, r2, alpha in forms:
        factors = []
        for index, (m, n), rank in ((1, (p, q), r1), (2, (u, v), r2)):
            if rank:
                a, b = values(m, rank, size=1), values(rank, n, size=1)
                state |= {f"{key}.lokr_w{index}_a": a, f"{key}.lokr_w{index}_b": b}
                factors.append(scaled_product(a, b, 1))
            else:
                whole = values(m, n, size=1)
                state[f"{key}.lokr_w{index}"] = whole
                factors.append(whole.astype(np.float64))
        rank = r2 or r1
        if alpha is not None:
            state[key + ".alpha"] = number(alpha, np.float16 if np.isinf(alpha) else np.float32)
        delta = np.kron(*factors) * (alpha / rank if rank and alpha else 1)
        expected.add(name + ".weight", exchanged(delta) if "norm_out" in key else delta, rows(name, part)[0])
    return state, expected, None, None


def dora():
    expected, state = Expected(), {}
    forms = (("lora_unet_double_blocks_0_img_attn_qkv", "double_blocks.0.img_attn.qkv", "all", ".dora_scale", "rows2"),
             ("transformer.single_transformer_blocks.1.attn.to_k", "single_blocks.1.linear1", "k", ".lora_magnitude_vector", "rows"),
             ("transformer.single_transformer_blocks.1.proj_mlp", "single_blocks.1.linear1", "mlp", ".magnitude", "rows"),
             ("lora_unet_double_blocks_1_txt_attn_qkv", "double_blocks.1.txt_attn.qkv", "all", ".dora_scale", "columns"),
             ("lora_unet_double_blocks_0_img_attn_proj", "double_blocks.0.img_attn.proj", "all", ".dora_scale", "columns"),
             ("transformer.norm_out.linear", "final_layer.adaLN_modulation.1", "all", ".lora_magnitude_vector.default.weight", "rows"))
    for key, name, part, suffix, kind in forms:
        begin, out = rows(name, part)
        base = BASE[name + ".weight"][begin:begin + out].astype(np.float64)
        inner = base.shape[1]
        a, b, alpha = values(2, inner), values(out, 2), 1.5
        m = np.abs(values(inner if kind == "columns" else out)) + 0.5
        base = exchanged(base) if "norm_out" in key else base
        changed = base + scaled_product(b, a, alpha / 2)
        if kind == "columns":
            changed = changed / np.linalg.norm(changed, axis=0, keepdims=True) * m[None].astype(np.float64)
        else:
            changed = changed / np.linalg.norm(changed, axis=1, keepdims=True) * m[:, None].astype(np.float64)
        state |= {key + ".lora_down.weight": a, key + ".lora_up.weight": b, key + ".alpha": number(alpha),
                  key + suffix: m[None] if kind == "columns" else m[:, None] if kind == "rows2" else m}
        delta = changed - base
        expected.add(name + ".weight", exchanged(delta) if "norm_out" in key else delta, begin)
    return state, expected, None, None


def dora_peft():
    """As PEFT writes it: checked with PEFT."""
    expected, state = Expected(), {}
    for module, name, part in (("transformer_blocks.0.attn.to_q", "double_blocks.0.img_attn.qkv", "q"),
                               ("transformer_blocks.0.attn.to_out.0", "double_blocks.0.img_attn.proj", "all")):
        begin, out = rows(name, part)
        base = BASE[name + ".weight"][begin:begin + out].astype(np.float64)
        a, b, m = values(2, 16), values(out, 2), np.abs(values(out)) + 0.5
        changed = base + scaled_product(b, a, 3.0 / 2)
        changed *= m[:, None].astype(np.float64) / np.linalg.norm(changed, axis=1, keepdims=True)
        key = "transformer." + module
        state |= {key + ".lora_A.weight": a, key + ".lora_B.weight": b, key + ".lora_magnitude_vector": m}
        expected.add(name + ".weight", changed - base, begin)
    meta = {"transformer.r": 2, "transformer.lora_alpha": 3, "transformer.use_dora": True}
    return state, expected, "PEFT/diffusers (DoRA)", {"lora_adapter_metadata": json.dumps(meta)}


def rslora():
    """alpha / sqrt(rank), and patterns that are regular expressions."""
    expected, state = Expected(), {}
    for module, name, part, rank, alpha in (("transformer_blocks.0.attn.to_q", "double_blocks.0.img_attn.qkv", "q", 2, 7),
                                            ("transformer_blocks.1.attn.to_k", "double_blocks.1.img_attn.qkv", "k", 2, 7),
                                            ("single_transformer_blocks.1.proj_out", "single_blocks.1.linear2", "all", 3, 5),
                                            ("proj_out", "final_layer.linear", "all", 3, 5),
                                            ("x_embedder", "img_in", "all", 2, 4)):
        begin, out = rows(name, part)
        a, b = values(rank, MODULES[name][1]), values(out, rank)
        state |= {f"transformer.{module}.lora_A.weight": a, f"transformer.{module}.lora_B.weight": b}
        expected.add(name + ".weight", scaled_product(b, a, alpha / np.sqrt(rank)), begin)
    meta = {"r": 2, "lora_alpha": 4, "use_rslora": True, "rank_pattern": {"proj_out": 3},
            "alpha_pattern": {"to_[qk]": 7, "proj_out": 5}}
    text = json.dumps({"transformer." + k: v for k, v in meta.items()})
    return state, expected, "PEFT/diffusers", {"lora_adapter_metadata": text}


def half(dtype):
    expected = Expected()
    return pairs(list(SHARED)[:8], under("lora_unet_"), expected, dtype), expected, "kohya", None


# ---- text encoders -------------------------------------------------------------------------------------------------

def text_cases():
    modules = [("text_encoder", n, *CLIP[n]) for n in list(CLIP)[:3]] + [("text_encoder_2", n, *T5[n]) for n in list(T5)[:3]]
    tensors = [(c, n, values(2, i), values(o, 2), float(k + 1)) for k, (c, n, o, i) in enumerate(modules)]
    expected = Expected()
    for c, n, a, b, alpha in tensors:
        expected.add(f"{c}/{n}.weight", scaled_product(b, a, alpha / 2))
    spellings = {  # CLIP's prefix, T5's, with underscores, suffixes
        "text-kohya": ("lora_te1_", "lora_te3_", True, ".lora_down.weight", ".lora_up.weight"),
        "text-onetrainer": ("lora_te1_", "lora_te2_", True, ".lora_down.weight", ".lora_up.weight"),
        "text-onetrainer-newer": ("clip_l.", "t5.", False, ".lora_down.weight", ".lora_up.weight"),
        "text-comfy": ("text_encoders.clip_l.transformer.", "text_encoders.t5xxl.transformer.", False, ".lora_down.weight",
                       ".lora_up.weight"),
        "text-diffusers": ("text_encoder.", "text_encoder_2.", False, ".lora_A.weight", ".lora_B.weight"),
        "text-diffusers-old": ("text_encoder.", "text_encoder_2.", False, ".lora_linear_layer.down.weight",
                               ".lora_linear_layer.up.weight"),
    }
    cases = {}
    for case, (clip, t5, underscores, down, up) in spellings.items():
        state = {}
        for c, n, a, b, alpha in tensors:
            key = (clip if c == "text_encoder" else t5) + (n.replace(".", "_") if underscores else n)
            state |= {key + down: a, key + up: b, key + ".alpha": number(alpha)}
        cases[case] = (state, "text", expected, None, None)
    return cases


def main():
    single = {"kohya-block-diagonal": block_diagonal(), "kohya-f16": half(np.float16), "kohya-bf16": half("bf16"),
              "xlabs": xlabs(), "bfl-control": control(), "comfyui": comfy(), "slices": diffusers_slices(), "loha": loha(),
              "lokr": lokr(), "dora": dora(), "dora-peft": dora_peft(), "rslora": rslora()}
    cases = {name: (state, name, expected, form, meta) for name, (state, expected, form, meta) in single.items()}
    cases |= shared_cases() | text_cases()
    index = {}
    for name, (state, expectation, expected, form, meta) in sorted(cases.items()):
        write(FOLDER / f"{name}.safetensors", state, meta)
        write(FOLDER / f"expected/{expectation}.safetensors", {k: np.asarray(v, np.float32) for k, v in expected.items()})
        oracle = lora_formats_check.confirm(name, state, expected, meta, BASE)
        index[name] = {"expected": expectation, "confirmed_by": oracle} | ({"format": form} if form else {})
    write(FOLDER / "base.safetensors", BASE)
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    total = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file())
    print(f"{len(cases)} files, {total} bytes with what is expected of them")


if __name__ == "__main__":
    main()
