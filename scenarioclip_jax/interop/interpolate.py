"""Weights between two models: WiSE-FT, which keeps what fine-tuning would forget (Wortsman et al. 2022)."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop.initial import init_from

Arrays = dict[str, np.ndarray]


def read_base(source: str, spec: ModelSpec, tokenizer: Tokenizer, run: Path) -> Arrays:
    """Reads the weights that a run was started from, arranged like its own.

    Args:
      source: Anything that `config.init_from` may name.
      spec, tokenizer: Those of the run.
      run: The run's folder, whose config says which heads plain CLIP began with.

    Raises:
      CheckpointError: They aren't weights for such a model.
    """
    heads, seed = "clip", 0
    if (run / "config.json").is_file():
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        heads, seed = config.get("init_heads", "new"), config.get("seed", 0)
    prepared = {"fit": spec.fit, "region_style": spec.region_style}
    return init_from(
        source, spec.model, head=heads, seed=seed, tokenizer=tokenizer, **prepared
    ).params


def interpolate(
    base: Mapping[str, np.ndarray], tuned: Mapping[str, np.ndarray], alpha: float
) -> Arrays:
    """Returns (1 - alpha) * base + alpha * tuned for every parameter; equal ones stay as they are.

    Args:
      base, tuned: Parameters by path: those that fine-tuning began with, and those that it ended with.
      alpha: Share of `tuned`, from 0 to 1.

    Raises:
      CheckpointError: They aren't the parameters of models of one kind.
    """
    different = sorted(
        path
        for path in base.keys() | tuned.keys()
        if path not in base or path not in tuned or base[path].shape != tuned[path].shape
    )
    if different:
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise CheckpointError(
            f"the two models aren't of one kind: {', '.join(different[:5])}{more} aren't the same in both; "
            "interpolate between a run and the weights that it was started from (its config.init_from)"
        )

    def between(path: str) -> np.ndarray:
        one, other = np.asarray(base[path], np.float32), np.asarray(tuned[path], np.float32)
        mixed = (1 - np.float32(alpha)) * one + np.float32(alpha) * other
        return np.where(one == other, other, mixed)

    return {path: between(path) for path in tuned}
