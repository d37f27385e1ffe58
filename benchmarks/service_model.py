"""A CLIP of a published size with random weights, for measuring how fast a model is and not what it knows."""

import tempfile
from pathlib import Path

import numpy as np
from flax import nnx

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.inference import Model
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP

# By preset: sizes of the towers of images and of texts.
SIZES = {
    "vitb32": (
        dict(image_size=224, patch_size=32, width=768, depth=12, heads=12, mlp_dim=3072),
        dict(vocab_size=49_408, max_length=77, width=512, depth=12, heads=8, mlp_dim=2048),
    ),
}


def random_model(preset: str) -> Model:
    """Makes a model.

    Args:
      preset: A key of SIZES.
    """
    vision, text = SIZES[preset]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(["a man on a horse"], Path(folder) / "tokenizer.json", 300)
    arguments = {
        "arch": "clip",
        "vision": vision | {"stem_blocks": 0},
        "text": text | {"stem_blocks": 0, "eos_id": tokenizer.eos_id},
        "embed_dim": 512,
    }
    _, shapes = parameters.abstract(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = {
        path: 0.02 * rng.standard_normal(shape.shape, np.float32) for path, shape in shapes.items()
    }
    return Model(ModelSpec(arguments, dict.fromkeys(LEVELS, 16)), params, tokenizer)
