"""Parts of a model that starts from CLIP: its heads, and what CLIP doesn't have."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop.clip_model import ClipModel
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import ScenarioCLIP, pools
from scenarioclip_jax.models.towers import Head

Arrays = dict[str, np.ndarray]


def new_head(width: int, embed_dim: int, rngs: nnx.Rngs) -> Arrays:
    """A head that starts at random."""
    _, head = parameters.split(Head(width, embed_dim, dtype=jnp.dtype("float32"), rngs=rngs))
    return {path: np.asarray(value) for path, value in head.items()}


def new_parts(model: dict[str, Any], rngs: nnx.Rngs) -> Arrays:
    """Parameters of parts that CLIP doesn't have: vectors that tell levels, and pooling over boxes."""
    if model["arch"] != "scenario_clip_shared" and not pools(model):
        return {}
    # Their shapes depend on the towers' widths alone, and so small towers do.
    small = {"depth": 1, "stem_blocks": 0}
    sizes = {tower: {**model[tower], **small} for tower in ("vision", "text")}
    _, params = parameters.split(ScenarioCLIP(**{**model, **sizes}, rngs=rngs))
    parts = re.compile(r"regions/.*|(vision|text)/level/.*")
    return {path: np.asarray(value) for path, value in params.items() if parts.fullmatch(path)}


def clip_head(clip: ClipModel, modality: str) -> Arrays:
    """A head that gives CLIP's own cosines, see `initial.from_clip`."""
    name = {"vision": "visual_projection.weight", "text": "text_projection.weight"}[modality]
    absent = [each for each in (name, "logit_scale") if each not in clip.weights]
    if absent:
        raise CheckpointError(
            f"{clip.name}: has no {' nor '.join(absent)}, so CLIP's own head can't be kept; convert it with "
            "from-huggingface --head new, and train the heads"
        )
    kernel = clip.weights[name].T  # [W, projection_dim]
    size = 2 * kernel.shape[1]
    bias = clip.weights.get(name.replace("weight", "bias"), np.zeros(size // 2, np.float32))
    return {
        "projection/kernel": np.concatenate([kernel, -kernel], axis=1),
        "projection/bias": np.concatenate([bias, -bias]),
        "norm/scale": np.ones(size, np.float32),
        "norm/bias": np.zeros(size, np.float32),
    }
