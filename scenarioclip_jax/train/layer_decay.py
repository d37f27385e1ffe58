"""Learning rates that fall from the output of a tower to its input, for fine-tuning.

What a tower has learned near its input is what most tasks share, so it should change least (Howard & Ruder
2018, section 3.2, "discriminative fine-tuning"). With decay d, a tower of depth L learns

    its head and last norm     at the full rate
    block i of 1 … L           at the rate times d^(L + 1 - i)
    its embeddings             at the rate times d^(L + 1)

so that the block next to the head has d, as usual for vision transformers (Bao et al. 2022). Everything outside
of towers learns at the full rate.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

_STEM = re.compile(r"(vision|text)/stem/[^/]+/(?P<rest>.*)")
_TRUNK = re.compile(r"(vision|text)/trunk/[^/]+/(?P<rest>.*)")
_BLOCKS = "stack/blocks/"


def layer_factors(
    paths: Iterable[str], model: Mapping[str, Any], decay: float
) -> dict[str, Float[np.ndarray, " B"]]:
    """Factors on the learning rate by path; those of stacked blocks have one per block, all others one.

    Args:
      paths: Paths of the trained parameters.
      model: Arguments of `ScenarioCLIP`, of which the towers' `depth` and `stem_blocks` are read.
      decay: The rate of a layer as a share of that of the layer behind it, 0 < decay <= 1.
    """
    return {path: decay ** _below(path, model) for path in paths}


def _below(path: str, model: Mapping[str, Any]) -> Float[np.ndarray, " B"]:
    """How many layers a parameter's own lies below the head; 0 for the head itself."""
    tower = path.split("/", 1)[0]
    if match := _STEM.fullmatch(path):
        depth, first, last = _blocks(model[tower], stem=True)
        if not match["rest"].startswith(_BLOCKS):
            return np.array([depth + 1.0])  # embeddings, and the norm behind them
    elif (match := _TRUNK.fullmatch(path)) and match["rest"].startswith(_BLOCKS):
        depth, first, last = _blocks(model[tower], stem=False)
    else:
        return np.array([0.0])
    return depth + 1.0 - np.arange(first, last + 1)


def _blocks(tower: Mapping[str, Any], *, stem: bool) -> tuple[int, int, int]:
    """Depth of a tower, and the first and the last block, from 1, of its stem or of its trunk."""
    depth, stem_blocks = tower["depth"], tower["stem_blocks"]
    return (depth, 1, stem_blocks) if stem else (depth, stem_blocks + 1, depth)
