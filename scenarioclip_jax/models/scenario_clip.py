"""The three-level model: which tower serves which level, for every architecture.

| arch              | branches                            | levels trained           | distillation |
| ----------------- | ----------------------------------- | ------------------------ | ------------ |
| `clip`            | `global`                            | global                   | no           |
| `pyramid_clip`    | `all`                               | global, object, relation | no           |
| `scenario_clip_0` | `global`, `object`, `relation`      | global, object, relation | no           |
| `scenario_clip_1` | `global`, `object`, `relation`      | global, object, relation | yes          |

A branch is one vision and one text tower with their heads. With `share_stem` all branches run on one
stem, `vision/stem/shared` and `text/stem/shared`; a branch's own has its name, so that rules over paths can
tell the two.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from scenarioclip_jax.models.layers import REMAT_POLICIES
from scenarioclip_jax.models.towers import (
    Head,
    TextConfig,
    TextStem,
    TextTrunk,
    VisionConfig,
    VisionStem,
    VisionTrunk,
)

LEVELS = ("global", "object", "relation")
ARCHITECTURES = ("clip", "pyramid_clip", "scenario_clip_0", "scenario_clip_1")
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
# With a bias, for the sigmoid loss: Zhai et al. 2023, section 3.2.
INITIAL_SIGMOID_SCALE, INITIAL_LOGIT_BIAS = math.log(10.0), -10.0


class Inputs(NamedTuple):
    """What the towers read: normalised pictures and token ids of each trained level."""

    images: Mapping[str, Float[Array, "N P P 3"]]
    ids: Mapping[str, Int[Array, "N L"]]


class Features(NamedTuple):
    """The residual stream after the stems, by level."""

    images: Mapping[str, Float[Array, "N T W"]]
    texts: Mapping[str, Float[Array, "N L W"]]


class Embeddings(NamedTuple):
    """Embeddings by level, not L2-normalised."""

    image: Mapping[str, Float[Array, "N D"]]
    text: Mapping[str, Float[Array, "N D"]]


def levels_of(arch: str) -> tuple[str, ...]:
    """The levels that an architecture is trained on."""
    return ("global",) if arch == "clip" else LEVELS


def branch_of(arch: str, level: str) -> str:
    """The branch that serves `level`. `clip` answers for every level with its one branch."""
    return {"clip": "global", "pyramid_clip": "all"}.get(arch, level)


class Tower(nnx.Module):
    """One modality: a stem, a trunk and a head for each branch (the stem maybe for all of them)."""

    def __init__(self, stem, trunk, config, branches, *, share_stem, embed_dim, rngs, **run):
        dtype = run["dtype"]
        stems = ("shared",) if share_stem else branches
        self.stem = nnx.Dict({b: stem(config, rngs=rngs, **run) for b in stems})
        self.trunk = nnx.Dict({b: trunk(config, rngs=rngs, **run) for b in branches})
        self.head = nnx.Dict(
            {b: Head(config.width, embed_dim, dtype=dtype, rngs=rngs) for b in branches}
        )


class ScenarioCLIP(nnx.Module):
    """ScenarioCLIP and the baselines it is compared with (arXiv 2511.20274).

    Args:
      arch: one of `ARCHITECTURES`.
      vision, text: sizes of the towers, dataclasses or mappings of their fields.
      embed_dim: D, the size of the embedding space.
      share_stem: one stem for all branches instead of one each. Where the stem is frozen and starts from
        the same weights, as in the reference, only the trainable `pre_norm` of the reference is lost.
      logit_bias: whether each level has one beside its logit scale, as the sigmoid loss needs.
      dtype: what activations are computed in; parameters are float32.
      remat, unroll: see `layers.Stack`.
    """

    def __init__(
        self,
        *,
        arch: str,
        vision: VisionConfig | Mapping,
        text: TextConfig | Mapping,
        embed_dim: int = 512,
        share_stem: bool = False,
        logit_bias: bool = False,
        dtype: str = "float32",
        remat: str = "none",
        unroll: int = 1,
        rngs: nnx.Rngs,
    ):
        if arch not in ARCHITECTURES:
            raise ValueError(f"arch is {arch!r}; it must be one of {', '.join(ARCHITECTURES)}")
        if remat not in REMAT_POLICIES:
            raise ValueError(f"remat is {remat!r}; it must be one of {', '.join(REMAT_POLICIES)}")
        if not isinstance(vision, VisionConfig):
            vision = VisionConfig(**vision)
        if not isinstance(text, TextConfig):
            text = TextConfig(**text)
        self.arch, self.share_stem = arch, share_stem
        branches = tuple(dict.fromkeys(branch_of(arch, level) for level in levels_of(arch)))
        kwargs = dict(
            share_stem=share_stem,
            embed_dim=embed_dim,
            dtype=jnp.dtype(dtype),
            remat=remat,
            unroll=unroll,
            rngs=rngs,
        )
        self.vision = Tower(VisionStem, VisionTrunk, vision, branches, **kwargs)
        self.text = Tower(TextStem, TextTrunk, text, branches, **kwargs)
        scale = INITIAL_SIGMOID_SCALE if logit_bias else INITIAL_LOGIT_SCALE
        self.logit_scale = self._scalars(scale)
        if logit_bias:
            self.logit_bias = self._scalars(INITIAL_LOGIT_BIAS)

    def _scalars(self, value: float) -> nnx.Dict:
        levels = levels_of(self.arch)
        return nnx.Dict({level: nnx.Param(jnp.float32(value)) for level in levels})

    def stems(self, inputs: Inputs) -> Features:
        """Runs the stems, level by level even where they share one.

        One batch of all levels would have to be dealt out over the devices anew, pixels and all, and a text
        batch padded to the longest level.
        """
        images = {v: self.vision.stem[self._stem_of(v)](x) for v, x in inputs.images.items()}
        texts = {v: self.text.stem[self._stem_of(v)](x) for v, x in inputs.ids.items()}
        return Features(images, texts)

    def _stem_of(self, level: str) -> str:
        return "shared" if self.share_stem else branch_of(self.arch, level)

    def trunks(self, features: Features, inputs: Inputs) -> Embeddings:
        """Runs trunks and heads on the stems' output."""
        image, text = {}, {}
        for level, x in features.images.items():
            branch = branch_of(self.arch, level)
            image[level] = self.vision.head[branch](self.vision.trunk[branch](x))
        for level, x in features.texts.items():
            branch = branch_of(self.arch, level)
            pooled = self.text.trunk[branch](x, inputs.ids[level])
            text[level] = self.text.head[branch](pooled)
        return Embeddings(image, text)

    def __call__(self, inputs: Inputs) -> Embeddings:
        return self.trunks(self.stems(inputs), inputs)

    def encode_image(self, images: Float[Array, "N P P 3"], level: str) -> Float[Array, "N D"]:
        """Embeds normalised pictures at `level`; the embeddings are not L2-normalised."""
        return self(Inputs({level: images}, {})).image[level]

    def encode_text(self, ids: Int[Array, "N L"], level: str) -> Float[Array, "N D"]:
        """Embeds token ids at `level`; the embeddings are not L2-normalised."""
        return self(Inputs({}, {level: ids})).text[level]
