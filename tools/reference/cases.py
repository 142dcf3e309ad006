"""The golden cases: which prompt, size, steps and adapters each tiny model is run with. Data only."""

SHORT = "A red star, 35mm"
OTHER = "it's a caf\u00e9 at night, 35mm photo (neon sign)"
LONG = ("portrait of a woman with silver hair, oil painting, highly detailed, 8k, soft light; black and white pencil drawing of a "
        "castle by the river at night - sharp, clean & quiet, watercolour of mountains and a wooden bridge in autumn, warm "
        "orange leaves falling, reflections on a wet street, the quick brown fox jumps over the lazy dog while it rains")

# Everything a case does not name comes from here. `taps` also stores the intermediate tensors; `vae` those of the VAE.
DEFAULTS = {"prompt": SHORT, "seed": 7, "steps": 4, "guidance": 3.5, "max_sequence_length": 24, "adapters": (), "base": "",
            "taps": False, "vae": False}


def _case(width, height, **changes):
    return {**DEFAULTS, "width": width, "height": height, **changes}


def _lora(base, *adapters, **changes):
    return {**base, "adapters": adapters, "base": "base", "taps": False, **changes}


_dev = _case(64, 96, taps=True, max_sequence_length=32)
_schnell = _case(56, 40, taps=True, guidance=0.0, seed=2**40 + 3)
_odd = _case(16, 24, taps=True, seed=123456789, max_sequence_length=20)

CASES = {
    "tiny-dev": {
        "base": _dev,
        "long": _case(96, 48, prompt=LONG, steps=1, guidance=1.0, seed=0, taps=True, max_sequence_length=32),
        "guidance-1": {**_dev, "guidance": 1.0, "taps": False},
        "vae": _case(48, 32, prompt=OTHER, steps=2, seed=42, vae=True),
        "lora-attention": _lora(_dev, ("attention", 1.0)),
        "lora-all": _lora(_dev, ("all-linears", 1.0)),
        "lora-single": _lora(_dev, ("single", 1.0)),
        "lora-clip": _lora(_dev, ("clip", 1.0)),
        "lora-t5": _lora(_dev, ("t5", 1.0)),
        "lora-metadata": _lora(_dev, ("metadata", 1.0)),
        "lora-half": _lora(_dev, ("all-linears", 0.5)),
        "lora-negative": _lora(_dev, ("attention", -0.8)),
        "lora-two": _lora(_dev, ("attention", 0.7), ("all-linears", 0.6)),
        "lora-three": _lora(_dev, ("single", -0.4), ("clip", 0.9), ("t5", 0.5)),
    },
    "tiny-schnell": {
        "base": _schnell,
        "long": _case(40, 64, prompt=LONG, steps=1, guidance=0.0, seed=1, taps=True),
        "vae": _case(24, 40, prompt="", steps=3, guidance=0.0, seed=5, vae=True),
        "lora-attention": _lora(_schnell, ("attention", 1.0)),
        "lora-two": _lora(_schnell, ("all-linears", 1.25), ("attention", -0.5)),
    },
    "tiny-odd": {
        "base": _odd,
        "long": _case(32, 20, prompt=LONG, steps=1, guidance=1.0, seed=99, taps=True),
        "vae": _case(28, 16, prompt=OTHER, steps=5, seed=3, guidance=1.0, vae=True),
        "lora-attention": _lora(_odd, ("attention", 0.5)),
        "lora-all": _lora(_odd, ("all-linears", 1.0)),
        "lora-text": _lora(_odd, ("text", 1.0)),
        "lora-two": _lora(_odd, ("text", 0.8), ("all-linears", -0.6)),
    },
}
