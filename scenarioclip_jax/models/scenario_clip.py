"""The three-level model: which tower serves which level, for every architecture.

| arch              | branches                            | levels trained           | distillation |
| ----------------- | ----------------------------------- | ------------------------ | ------------ |
| `clip`            | `global`                            | global                   | no           |
| `pyramid_clip`    | `all`                               | global, object, relation | no           |
| `scenario_clip_0` | `global`, `object`, `relation`      | global, object, relation | no           |
| `scenario_clip_1` | `global`, `object`, `relation`      | global, object, relation | yes          |
| `scenario_clip_2` | `all`                               | global, object, relation | between its own levels |
| `scenario_clip_shared` | `all`, told the level, a head each | global, object, relation | no      |

A branch is one vision and one text tower with their heads. With `share_stem` all branches share the stems
`vision/stem/shared` and `text/stem/shared`. A branch's own stem has the branch's name, so that rules over paths
can tell the two apart.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import LEVELS, Boxes, Rows
from scenarioclip_jax.models.layers import REMAT_POLICIES
from scenarioclip_jax.models.regions import REGIONS, Regions
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

ARCHITECTURES = (
    *("clip", "pyramid_clip", "scenario_clip_0", "scenario_clip_1"),
    *("scenario_clip_2", "scenario_clip_shared"),
)
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
# With a bias, for the sigmoid loss: Zhai et al. 2023, section 3.2.
INITIAL_SIGMOID_SCALE, INITIAL_LOGIT_BIAS = math.log(10.0), -10.0


def check_packing(patch_packing: bool, vision: VisionConfig) -> None:
    """Raises ValueError if a vision tower's views can't be packed."""
    if patch_packing and not vision.has_class_token:
        raise ValueError(
            "patch_packing is True, but a vision tower that pools by attention has no class token, which "
            "packed views are read out from; set it to False"
        )


NOT_PACKED: Mapping[str, Rows] = MappingProxyType({})


class Inputs(NamedTuple):
    """The towers' inputs for each trained level, with packing groups flattened.

    Images are normalized, or cut into patches if `image_rows` has the level. A row of token ids holds one text,
    or several if `text_rows` has the level.
    """

    images: Mapping[str, Float[Array, "N P P 3"] | Float[Array, "N T pixels"]]
    ids: Mapping[str, Int[Array, "N L"]]
    image_rows: Mapping[str, Rows] = NOT_PACKED  # `models.rows.merge_groups`
    text_rows: Mapping[str, Rows] = NOT_PACKED
    boxes: Mapping[str, Boxes] = MappingProxyType({})  # finer levels, if regions are pooled


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
    one = {"clip": "global", "pyramid_clip": "all"}
    one |= {"scenario_clip_2": "all", "scenario_clip_shared": "all"}
    return one.get(arch, level)


def head_of(arch: str, level: str) -> str:
    """The head that serves `level`: its branch's, or with `scenario_clip_shared` its own."""
    return level if arch == "scenario_clip_shared" else branch_of(arch, level)


class Parts(NamedTuple):
    """The parts of a modality.

    Attributes:
      towers: Branches that have a tower.
      heads: Names of the heads.
      told: Levels for which there is a vector that tells a tower its level.
    """

    towers: tuple[str, ...]
    heads: tuple[str, ...]
    told: tuple[str, ...]


def parts_of(arch: str, modality: str, *, pooled: bool) -> Parts:
    """The parts of `vision` or `text`. If regions are pooled, one vision tower serves all levels' heads."""
    levels = levels_of(arch)
    towers = tuple(dict.fromkeys(branch_of(arch, level) for level in levels))
    if pooled and modality == "vision":
        return Parts(towers[:1], levels, ())
    heads = tuple(dict.fromkeys(head_of(arch, level) for level in levels))
    return Parts(towers, heads, levels if arch == "scenario_clip_shared" else ())


def pools(model: Mapping[str, Any]) -> bool:
    """Whether a model, given by its constructor's arguments, pools objects and relations from whole photos."""
    return model.get("regions", "views") == "pooled" and len(levels_of(model["arch"])) > 1


def sees_visible_only(arch: str, patch_packing: bool, level: str) -> bool:
    """Whether towers see images of `level` without their black patches; whole scenes always keep them."""
    return patch_packing and arch != "clip" and level != "global"


class Tower(nnx.Module):
    """One modality: a stem and a trunk per branch, and heads; all branches may share one stem.

    A tower that serves several levels may be told which: a learned vector for each of `parts.told` is added to
    all of a trunk's input.
    """

    def __init__(self, stem, trunk, config, parts: Parts, *, share_stem, embed_dim, rngs, **run):
        dtype = run["dtype"]
        stems = ("shared",) if share_stem else parts.towers
        self.stem = nnx.Dict({b: stem(config, rngs=rngs, **run) for b in stems})
        self.trunk = nnx.Dict({b: trunk(config, rngs=rngs, **run) for b in parts.towers})
        self.head = nnx.Dict(
            {h: Head(config.width, embed_dim, dtype=dtype, rngs=rngs) for h in parts.heads}
        )
        if parts.told:
            normal = nnx.initializers.normal(0.02)
            self.level = nnx.Dict(
                {level: nnx.Param(normal(rngs.params(), (config.width,))) for level in parts.told}
            )

    def tell(self, level: str, stream: Stream) -> Stream:
        """Tells a trunk's input its level, if this tower has vectors for levels."""
        if not hasattr(self, "level"):
            return stream
        return stream._replace(x=stream.x + self.level[level][...].astype(stream.x.dtype))


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
      regions: Whether objects and relations are views of their own (`views`), or boxes over which the patch
        tokens of the whole photo are pooled (`pooled`): then only the global level has a vision tower.
      object_parts: With pooled regions, parts along each side of an object's box that are pooled beside it.
      ends_as_objects: With pooled regions, whether a relation also reads what its two ends are as objects.
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
        regions: str = "views",
        object_parts: int = 1,
        ends_as_objects: bool = False,
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
        if regions not in REGIONS:
            raise ValueError(f"regions is {regions!r}; it must be one of {', '.join(REGIONS)}")
        if object_parts < 1:
            raise ValueError(f"object_parts is {object_parts}; it must be 1 or more")
        if not isinstance(vision, VisionConfig):
            vision = VisionConfig(**vision)
        if not isinstance(text, TextConfig):
            text = TextConfig(**text)
        check_packing(patch_packing, vision)
        self.arch, self.share_stem, self.patch_packing = arch, share_stem, patch_packing
        self.pools = regions == "pooled" and len(levels_of(arch)) > 1
        kwargs = dict(
            share_stem=share_stem,
            embed_dim=embed_dim,
            dtype=jnp.dtype(dtype),
            remat=remat,
            unroll=unroll,
            attention=attention,
            rngs=rngs,
        )
        seeing, reading = (parts_of(arch, m, pooled=self.pools) for m in ("vision", "text"))
        self.vision = Tower(VisionStem, VisionTrunk, vision, seeing, **kwargs)
        self.text = Tower(TextStem, TextTrunk, text, reading, **kwargs)
        if self.pools:
            self.regions = Regions(
                vision.width,
                vision.heads,
                object_parts,
                ends_as_objects=ends_as_objects,
                dtype=jnp.dtype(dtype),
                rngs=rngs,
            )
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
            _blocks(self.vision.stem, self._stem_of, images, groups),
            _blocks(self.text.stem, self._stem_of, texts, groups),
        )

    def _stem_of(self, level: str) -> str:
        return "shared" if self.share_stem else branch_of(self.arch, level)

    def trunks(self, features: Features, inputs: Inputs, *, groups: int = 1) -> Embeddings:
        """Runs trunks and heads on the stems' output; see `stems` for `groups`."""
        seen = {level: self.vision.tell(level, x) for level, x in features.images.items()}
        read = {level: self.text.tell(level, x) for level, x in features.texts.items()}
        seen = _blocks(self.vision.trunk, self._trunk_of, seen, groups)
        read = _blocks(self.text.trunk, self._trunk_of, read, groups)
        image, text = {}, {}
        for level, x in seen.items():
            trunk = self.vision.trunk[self._trunk_of(level)]
            pooled = trunk.pool(x, inputs.image_rows.get(level))
            image[level] = self.vision.head[self._vision_head_of(level)](pooled)
            if self.pools and inputs.boxes:
                tokens = trunk.tokens(x)
                tokens = tokens.reshape(groups, -1, *tokens.shape[1:])
                image |= self._regions(tokens, inputs.boxes)
        for level, x in read.items():
            pooled = self.text.trunk[self._trunk_of(level)].pool(
                x, inputs.ids[level], inputs.text_rows.get(level)
            )
            text[level] = self.text.head[head_of(self.arch, level)](pooled)
        return Embeddings(image, text)

    def _regions(
        self, tokens: Float[jax.Array, "G S T W"], boxes: Mapping[str, Boxes]
    ) -> dict[str, Float[Array, "N D"]]:
        """Embeds boxes of photos by level, groups flattened."""
        found = self.regions(tokens, boxes)
        return {
            level: self.vision.head[level](one.reshape(-1, one.shape[-1]))
            for level, one in found.items()
        }

    def _trunk_of(self, level: str) -> str:
        return branch_of(self.arch, level)

    def _vision_head_of(self, level: str) -> str:
        return level if self.pools else head_of(self.arch, level)

    def __call__(self, inputs: Inputs, *, groups: int = 1) -> Embeddings:
        return self.trunks(self.stems(inputs, groups=groups), inputs, groups=groups)

    def encode_image(self, images: Float[Array, "N P P 3"], level: str) -> Float[Array, "N D"]:
        """Embeds normalized images at `level`; the embeddings are not L2-normalized.

        If regions are pooled, an image of an object or a relation is one that is all box.
        """
        if not self.pools or level == "global":
            return self(Inputs({level: images}, {})).image[level]
        ends = 2 if level == "relation" else 1
        whole = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0, 1.0]), (len(images), 1, ends, 4))
        return self.encode_boxes(images, whole, level)[:, 0]

    def encode_boxes(
        self, images: Float[Array, "N P P 3"], box: Float[Array, "N M E 4"], level: str
    ) -> Float[Array, "N M D"]:
        """Embeds boxes of normalized images at a finer level, if regions are pooled; not L2-normalized.

        Args:
          images: Whole photos.
          box: M boxes of each as shares of its sides; E is 1 for objects and 2 for relations.
          level: `object` or `relation`.
        """
        count, boxes = box.shape[:2]
        where = Boxes(jnp.zeros((count, boxes), jnp.int32), box)
        found = self(Inputs({"global": images}, {}, boxes={level: where}), groups=count).image[
            level
        ]
        return found.reshape(count, boxes, -1)

    def encode_text(self, ids: Int[Array, "N L"], level: str) -> Float[Array, "N D"]:
        """Embeds token ids at `level`; the embeddings are not L2-normalized."""
        return self(Inputs({}, {level: ids})).text[level]


def _blocks(
    parts: nnx.Dict, name_of: Callable[[str], str], streams: Mapping[str, Stream], groups: int
) -> dict[str, Stream]:
    """Runs the blocks of stems or trunks; levels that can be joined go through as one batch.

    Args:
      parts: Stems or trunks.
      name_of: The part that serves a level.
      streams: Their inputs by level.
      groups: Number of packing groups in the streams' first axes.
    """
    found, together = {}, {}
    for level, stream in streams.items():
        kind = (name_of(level), stream.x.shape[1], stream.sequence is None)
        together.setdefault(kind, []).append(level)
    for (part, *_), levels in together.items():
        joined = join([streams[level] for level in levels], groups)
        counts = [streams[level].x.shape[0] for level in levels]
        split = separate(parts[part].blocks(joined), counts, groups)
        found |= dict(zip(levels, split, strict=True))
    return {level: found[level] for level in streams}
