"""Small models in open_clip's format, made from random numbers, and what open_clip computes with them.

python -m tests.interop.openclip_files    # needs open_clip_torch; writes tests/golden/openclip.json
"""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers.pre_tokenizers import ByteLevel

from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.tokens import BOS, EOS, Tokenizer
from tests.interop import helpers

GOLDEN = Path(__file__).parents[1] / "golden/openclip.json"
VISION = dict(image_size=32, layers=2, width=32, head_width=8, patch_size=8)
TEXT = dict(context_length=20, vocab_size=514, width=24, heads=4, layers=2)
# Name -> (model_cfg, preprocess_cfg): what LAION's, DFN's and fine-tuned models have.
MODELS = {
    "gelu, own mean": (
        dict(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT),
        dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
    ),
    "quick_gelu, squash, text apart": (
        dict(embed_dim=16, quick_gelu=True, custom_text=True, vision_cfg=VISION, text_cfg=TEXT),
        dict(mean=[0.48, 0.46, 0.41], std=[0.27, 0.26, 0.28], resize_mode="squash", size=32),
    ),
    "other sizes": (
        dict(
            embed_dim=12,
            vision_cfg=VISION | dict(mlp_ratio=1.5, norm_kwargs=dict(eps=1e-6), head_width=16),
            text_cfg=TEXT | dict(mlp_ratio=3, layers=1),
        ),
        {},
    ),
}


@functools.cache
def tokenizer() -> Tokenizer:
    """One of bytes whose end of text is the last id, as in CLIP's own: open_clip pools at the highest."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), BOS, EOS]
    with tempfile.TemporaryDirectory() as folder:
        ids = {token: index for index, token in enumerate(tokens)}
        (Path(folder) / "vocab.json").write_text(json.dumps(ids))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return Tokenizer.load(folder)


def arrays(model: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Every array of a model, in open_clip's names."""
    rng = np.random.default_rng(seed)
    vision, text = model["vision_cfg"], model["text_cfg"]
    below = "text." if model.get("custom_text") else ""
    grid = vision["image_size"] // vision["patch_size"]
    width, other, dim = vision["width"], text["width"], model["embed_dim"]
    shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (grid**2 + 1, width),
        "visual.conv1.weight": (width, 3, vision["patch_size"], vision["patch_size"]),
        "visual.proj": (width, dim),
        f"{below}token_embedding.weight": (text["vocab_size"], other),
        f"{below}positional_embedding": (text["context_length"], other),
        f"{below}text_projection": (other, dim),
    }
    norms = {"visual.ln_pre": width, "visual.ln_post": width, f"{below}ln_final": other}
    for prefix, size, config in (("visual.", width, vision), (below, other, text)):
        hidden = int(size * config.get("mlp_ratio", 4))
        for layer in range(config["layers"]):
            block = f"{prefix}transformer.resblocks.{layer}"
            norms |= {f"{block}.ln_1": size, f"{block}.ln_2": size}
            shapes |= {
                f"{block}.attn.in_proj_weight": (3 * size, size),
                f"{block}.attn.in_proj_bias": (3 * size,),
                f"{block}.attn.out_proj.weight": (size, size),
                f"{block}.attn.out_proj.bias": (size,),
                f"{block}.mlp.c_fc.weight": (hidden, size),
                f"{block}.mlp.c_fc.bias": (hidden,),
                f"{block}.mlp.c_proj.weight": (size, hidden),
                f"{block}.mlp.c_proj.bias": (size,),
            }
    found = {}
    for name, shape in shapes.items():
        fan_in = np.prod(shape[1:]) if len(shape) > 1 and "embedding" not in name else 25
        found[name] = rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)
    for name, size in norms.items():
        found[f"{name}.weight"] = 1 + 0.1 * rng.standard_normal(size, np.float32)
        found[f"{name}.bias"] = 0.1 * rng.standard_normal(size, np.float32)
    return found | {"logit_scale": np.array(3.5, np.float32)}


def write(folder: Path, name: str) -> Path:
    """Writes one of MODELS as open_clip does, with a tokenizer."""
    model, preprocess = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays(model), folder / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    tokenizer().save(folder / "tokenizer.json")
    return folder


def pixels() -> np.ndarray:
    """Three images between 0 and 1, one of them half black."""
    images = np.random.default_rng(1).random((3, 32, 32, 3), np.float32)
    images[1, :16] = 0
    return images


def ids(length: int = 20) -> np.ndarray:
    return tokenizer().encode(helpers.TEXTS, length)[0]


def main() -> None:
    """Computes the figures by open_clip itself."""
    import open_clip
    import torch

    figures = {"open_clip": open_clip.__version__, "models": {}}
    for name, (config, preprocess) in MODELS.items():
        kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
        sizes = {key: value for key, value in config.items() if key != "custom_text"}
        model = kind(**sizes).eval()
        state = {key: torch.tensor(value) for key, value in arrays(config).items()}
        model.load_state_dict(state)
        mean, std = preprocess.get("mean", CLIP_MEAN), preprocess.get("std", CLIP_STD)
        images = ((pixels() - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
        with torch.no_grad():
            found = {
                "image": model.encode_image(torch.tensor(images)),
                "text": model.encode_text(torch.tensor(ids(), dtype=torch.long)),
            }
        figures["models"][name] = {key: value.tolist() for key, value in found.items()}
    GOLDEN.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
