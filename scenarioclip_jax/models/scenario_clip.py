"""The three-level model: which tower serves which level, for every architecture.

| arch              | branches                            | levels trained           | distillation |
| ----------------- | ----------------------------------- | ------------------------ | ------------ |
| `clip`            | `global`                            | global                   | no           |
| `pyramid_clip`    | `all`                               | global, object, relation | no           |
| `scenario_clip_0` | `global`, `object`, `relation`      | global, object, relation | no           |
| `scenario_clip_1` | `global`, `object`, `relation`      | global, object, relation | yes          |

A branch is one vision and one text tower with their heads. With `share_stem` all branches share the stems
`vision/stem/shared` and `text/stem/shared`. A branch's own stem has the branch's name, so that rules over paths
can tell the two apart.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import LEVELS, Rows
from scenarioclip_jax.models.layers import REMAT_POLICIES
from scenarioclip_jax.models.rows import Stream, join, separate
from scenarioclip_jax.models.towers import (
    Head,
    TextConfig,
    TextStem,
    TextTrunk,
    VisionConfig,
    VisionStem,
    VisionTrunk,
)

ARCHITECTURES = ("clip", "pyramid_clip", "scenario_clip_0", "scenario_clip_1")
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
# With a bias, for the sigmoid loss: Zhai et al. 2023, section 3.2.
INITIAL_SIGMOID_SCALE, INITIAL_LOGIT_BIAS = math.log(10.0), -10.0


NOT_PACKED: Mapping[str, Rows] = MappingProxyType({})


class Inputs(NamedTuple):
    """The towers' inputs for each trained level, with packing groups flattened.

    Images are normalized, or cut into patches if `image_rows` has the level. A row of token ids holds one text,
    or several if `text_rows` has the level.
    """

    images: Mapping[str, Float[Array, "N P P 3"] | Float[Array, "N T pixels"]]
    ids: Mapping[str, Int[Array, "N L"]]
    image_rows: Mapping[str, Rows] = NOT_PACKED  # `models.rows.flatten`
    text_rows: Mapping[str, Rows] = NOT_PACKED


class Features(NamedTuple):
    """The residual stream after the stems, by level."""

    images: Mapping[str, Stream]
    texts: Mapping[str, Stream]


class Embeddings(NamedTuple):
    """Embeddings by level, not L2-normalized."""

    image: Mapping[str, Float[Array, "N D"]]
    text: Mapping[str, Float[Array, "N D"]]


def levels_of(arch: str) -> tuple[str, ...]:
    """The levels that an architecture is trained on."""
    return ("global",) if arch == "clip" else LEVELS


def branch_of(arch: str, level: str) -> str:
    """The branch that serves `level`. `clip` serves every level with its one branch."""
    return {"clip": "global", "pyramid_clip": "all"}.get(arch, level)


def sees_visible_only(arch: str, patch_packing: bool, level: str) -> bool:
    """Whether towers see images of `level` without their black patches; whole scenes always keep them."""
    return patch_packing and arch != "clip" and level != "global"


class Tower(nnx.Module):
    """One modality: a stem, a trunk and a head per branch; all branches may share one stem."""

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
      arch: One of `ARCHITECTURES`.
      vision, text: Sizes of the towers, as dataclasses or as mappings of their fields.
      embed_dim: Size D of the embedding space.
      share_stem: Whether all branches share one stem. If stems are frozen and start from the same weights, as
        in the reference, sharing loses only the reference's trainable `pre_norm`.
      patch_packing: Whether the towers of objects and relations attend only to patches that show something,
        so that black patches needn't be computed, see `data.batch.Rows`.
      logit_bias: Whether each level has a bias besides its logit scale, as the sigmoid loss needs.
      dtype: Type of the activations; parameters are float32.
      remat, unroll: Arguments of `layers.Stack`.
      attention: The kernel, one of `attention.KINDS` but `auto`; see `attention.kind_on`.
    """

    def __init__(
        self,
        *,
        arch: str,
        vision: VisionConfig | Mapping,
        text: TextConfig | Mapping,
        embed_dim: int = 512,
        share_stem: bool = False,
        patch_packing: bool = False,
        logit_bias: bool = False,
        dtype: str = "float32",
        remat: str = "none",
        unroll: int = 1,
        attention: str = "plain",
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
        self.arch, self.share_stem, self.patch_packing = arch, share_stem, patch_packing
        branches = tuple(dict.fromkeys(branch_of(arch, level) for level in levels_of(arch)))
        kwargs = dict(
            share_stem=share_stem,
            embed_dim=embed_dim,
            dtype=jnp.dtype(dtype),
            remat=remat,
            unroll=unroll,
            attention=attention,
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

    def stems(self, inputs: Inputs, *, groups: int = 1) -> Features:
        """Runs the stems.

        Args:
          groups: Number of packing groups in the inputs' first axes. Levels with the same stem and row length
            go through it as one batch, in which the rows of a group stay together, as on the devices.
        """
        images, texts = {}, {}
        for level, x in inputs.images.items():
            stem, rows = self.vision.stem[self._stem_of(level)], inputs.image_rows.get(level)
            seen = sees_visible_only(self.arch, self.patch_packing, level)
            images[level] = stem.embed(x, rows, visible_only=seen)
        for level, x in inputs.ids.items():
            stem, rows = self.text.stem[self._stem_of(level)], inputs.text_rows.get(level)
            texts[level] = stem.embed(x, rows)
        return Features(
            self._blocks(self.vision.stem, images, groups),
            self._blocks(self.text.stem, texts, groups),
        )

    def _blocks(self, stems: nnx.Dict, streams: Mapping[str, Stream], groups: int):
        """Runs the stems' blocks on the streams; levels that can be joined go through as one batch."""
        found, together = {}, {}
        for level, stream in streams.items():
            kind = (self._stem_of(level), stream.x.shape[1], stream.sequence is None)
            together.setdefault(kind, []).append(level)
        for (stem, *_), levels in together.items():
            joined = join([streams[level] for level in levels], groups)
            counts = [streams[level].x.shape[0] for level in levels]
            split = separate(stems[stem].blocks(joined), counts, groups)
            found |= dict(zip(levels, split, strict=True))
        return {level: found[level] for level in streams}

    def _stem_of(self, level: str) -> str:
        return "shared" if self.share_stem else branch_of(self.arch, level)

    def trunks(self, features: Features, inputs: Inputs) -> Embeddings:
        """Runs trunks and heads on the stems' output."""
        image, text = {}, {}
        for level, x in features.images.items():
            branch = branch_of(self.arch, level)
            pooled = self.vision.trunk[branch](x, inputs.image_rows.get(level))
            image[level] = self.vision.head[branch](pooled)
        for level, x in features.texts.items():
            branch = branch_of(self.arch, level)
            rows = inputs.text_rows.get(level)
            pooled = self.text.trunk[branch](x, inputs.ids[level], rows)
            text[level] = self.text.head[branch](pooled)
        return Embeddings(image, text)

    def __call__(self, inputs: Inputs, *, groups: int = 1) -> Embeddings:
        return self.trunks(self.stems(inputs, groups=groups), inputs)

    def encode_image(self, images: Float[Array, "N P P 3"], level: str) -> Float[Array, "N D"]:
        """Embeds normalized images at `level`; the embeddings are not L2-normalized."""
        return self(Inputs({level: images}, {})).image[level]

    def encode_text(self, ids: Int[Array, "N L"], level: str) -> Float[Array, "N D"]:
        """Embeds token ids at `level`; the embeddings are not L2-normalized."""
        return self(Inputs({}, {level: ids})).text[level]
