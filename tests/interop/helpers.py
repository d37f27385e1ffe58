"""Small CLIP models on disk, made from random numbers, and a tokenizer for them."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.interop import clip_towers
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

VISION = dict(width=32, depth=3, heads=4, mlp_dim=64, image_size=32, patch_size=8)
TEXT = dict(width=24, depth=3, heads=4, mlp_dim=48, vocab_size=320, max_length=20)
PROJECTION = 16
TEXTS = ["a red circle left of a blue square", "two people talk", "A person rides a horse!", "ok"]
# What looks like the label of the same words, but has other characters.
UNTIDY = [
    "Two  People\u200b talk",
    "two people&nbsp;talk",
    "\uff54wo people talk",
    "city&center",
    "\ufb01sh",
]
THEIRS = dict(
    width="hidden_size",
    depth="num_hidden_layers",
    heads="num_attention_heads",
    mlp_dim="intermediate_size",
    vocab_size="vocab_size",
    max_length="max_position_embeddings",
    image_size="image_size",
    patch_size="patch_size",
)


@functools.cache
def tokenizer():
    with tempfile.TemporaryDirectory() as folder:
        return train_tokenizer(TEXTS * 3, Path(folder) / "tokenizer.json", vocab_size=320)


def clip_arrays(vision=VISION, text=TEXT, projection=PROJECTION, seed=0) -> dict[str, np.ndarray]:
    """Every array of a CLIP model, in Hugging Face's names."""
    rng = np.random.default_rng(seed)
    shapes = {"visual_projection.weight": (projection, vision["width"]), "logit_scale": ()}
    shapes["text_projection.weight"] = (projection, text["width"])
    configs = {"vision": VisionConfig(**vision, stem_blocks=0)}
    configs["text"] = TextConfig(**text, eos_id=0, stem_blocks=0)
    for tower, config in configs.items():
        for name, shape in clip_towers.expected_shapes(config).items():
            shapes[f"{tower}_model.{name}"] = shape
    arrays = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape, np.float32) if shape else np.float32(0)
        if "norm" in name and name.endswith("weight"):
            arrays[name] = 1 + 0.1 * noise
        elif "embedding" in name or name.endswith("bias"):
            arrays[name] = 0.2 * noise
        elif name == "logit_scale":
            arrays[name] = np.array(3.5, np.float32)
        else:
            arrays[name] = noise * np.float32(np.prod(shape[1:]) ** -0.5)
    return arrays


def clip_config(
    vision=VISION, text=TEXT, projection=PROJECTION, *, eos_id: int | None = None
) -> dict:
    eos_id = tokenizer().eos_id if eos_id is None else eos_id
    towers = {
        f"{tower}_config": {THEIRS[name]: value for name, value in sizes.items()}
        | {"model_type": f"clip_{tower}_model", "projection_dim": projection}
        for tower, sizes in (("vision", vision), ("text", text))
    }
    towers["text_config"] |= {"eos_token_id": eos_id, "bos_token_id": tokenizer().bos_id}
    return {"model_type": "clip", "projection_dim": projection, **towers}


def write_clip(folder: Path, arrays=None, config=None, *, with_tokenizer=True) -> Path:
    """A Hugging Face CLIP folder, written without PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        clip_arrays() if arrays is None else arrays, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text(json.dumps(config or clip_config()))
    if with_tokenizer:
        tokenizer().save(folder)
    return folder


def assert_same(ours: dict, theirs: dict) -> None:
    """Bit for bit: names, dtypes, shapes and values."""
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        other = np.asarray(theirs[path])
        assert value.dtype == other.dtype, path
        assert value.shape == other.shape, path
        assert value.tobytes() == other.tobytes(), path


def pictures(count=3, seed=0) -> list[np.ndarray]:
    """Pictures with structure, of odd sizes."""
    rng = np.random.default_rng(seed)
    sizes = [(45, 67), (91, 50), (32, 32), (77, 120)]
    made = []
    for index in range(count):
        height, width = sizes[index % len(sizes)]
        small = rng.integers(0, 256, (6, 6, 3), np.uint8)
        made.append(
            np.kron(small, np.ones((height // 6 + 1, width // 6 + 1, 1), np.uint8))[:height, :width]
        )
    return made
