"""A checkpoint with tiny random towers, for a data set's texts."""

import functools
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from scenarioclip_jax import checkpoint
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.stored.shards import load_classes
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP

TOWER = dict(width=16, depth=1, heads=2, mlp_dim=32, stem_blocks=0)


def sizes(eos_id: int) -> dict:
    """The arguments of `ScenarioCLIP`."""
    return dict(
        arch="scenario_clip_1",
        vision=TOWER | dict(image_size=32, patch_size=16),
        text=TOWER | dict(vocab_size=400, max_length=12, eos_id=eos_id),
        embed_dim=8,
    )


@functools.cache
def random_params(seed: int, eos_id: int) -> dict[str, np.ndarray]:
    """Made once for all tests of a process, because compiling takes seconds."""
    model = sizes(eos_id)
    _, params = parameters.create(lambda: ScenarioCLIP(**model, rngs=nnx.Rngs(seed)))
    return jax.tree.map(np.asarray, dict(params))


def write_model(folder: Path, data_dir: Path, seed: int = 0) -> Path:
    """Student and EMA weights, which differ."""
    folder.mkdir(parents=True)
    texts = sorted({text for kind in load_classes(data_dir).values() for text in kind})
    tokenizer = train_tokenizer(texts, folder / "tokenizer.json", 400)
    params = random_params(seed, tokenizer.eos_id)
    ema = {path: value * np.float32(0.9) for path, value in params.items()}
    spec = ModelSpec(sizes(tokenizer.eos_id), dict.fromkeys(LEVELS, 12))
    checkpoint.save_model(folder, spec, params, ema)
    return folder
