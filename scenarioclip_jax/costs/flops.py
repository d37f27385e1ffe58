"""Counts the FLOPs of a train step from shapes.

A compiler's count won't do: XLA counts a loop over blocks as one iteration. Only matrix products are counted,
2 m k n for [m, k] @ [k, n] (Kaplan et al. 2020, section 2.1; Chowdhery et al. 2022, appendix B, who define
MFU by it). For a block of width W and MLP width M on T tokens, forward:

    queries, keys, values   2 T W 3W        attention's output   2 T W W        MLP   2 * 2 T W M
    scores, weighted values 2 * 2 T T W     (all T x T of them: nothing is saved for a causal mask)

Backward, for each product y = x @ w:

    derivative for x    as much as forward, if x depends on something that trains
    derivative for w    as much as forward, if w trains

So a trained block costs twice its forward pass. A frozen block above something trainable costs once for its
kernels and twice for attention, both of whose factors are activations. A frozen block with nothing trainable
below costs nothing. Patches cost 2 g^2 (3 p^2) W for a grid of g x g patches of p x p pixels, a head 2 W D. A
level's loss compares all its N slots with each other, 2 N^2 D forward and twice that backward. Terms of a
recipe compare within groups, [N, D] with [N + F, D], or all parts with all photos.

Empty slots and tokens of a batch are computed like the others, so they are counted too.

`model` FLOPs are those that the mathematics needs. `hardware` FLOPs are those that are executed: they include
the second forward pass of `loss.accumulate`, the blocks that `model.remat` recomputes, the scores that a fused
kernel's backward pass recomputes, the logits that the loss's recomputes, the padding of its last chunk, and the
resampling of images. Fused kernels are counted as if they computed all T x T scores.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.losses.distillation import TEACHER_LEVELS
from scenarioclip_jax.losses.pairwise import CHUNK
from scenarioclip_jax.models.attention import fuses
from scenarioclip_jax.models.regions import GEOMETRY
from scenarioclip_jax.models.scenario_clip import branch_of, head_of, levels_of, pools
from scenarioclip_jax.models.towers import TextConfig, TowerConfig, VisionConfig


class Count(NamedTuple):
    """FLOPs of a step over all devices."""

    model: int = 0  # needed by the mathematics
    hardware: int = 0  # executed

    def plus(self, other: "Count") -> "Count":
        return Count(self.model + other.model, self.hardware + other.hardware)


@dataclasses.dataclass(frozen=True)
class Flops:
    """FLOPs of a train step over all devices.

    Attributes:
      by_part: `vision` and `text`, the student's towers of all levels, forward and backward; `teacher`; `loss`,
        the contrastive losses; `views`, the resampling of images (which has no model FLOPs).
    """

    by_part: Mapping[str, Count]

    @property
    def model(self) -> int:
        return sum(count.model for count in self.by_part.values())

    @property
    def hardware(self) -> int:
        return sum(count.hardware for count in self.by_part.values())


class Level(NamedTuple):
    """The input of a level's towers in a step over all devices: rows and the tokens in each."""

    slots: int
    texts: int  # the slots' own and further ones
    vision: tuple[int, int]
    text: tuple[int, int]


def level_shapes(settings: DataSettings, vision: VisionConfig) -> dict[str, Level]:
    """Slots and rows of the global batch, by level."""
    found, groups = {}, settings.packing_groups
    for level in LEVELS:
        shape = settings.level(level)
        told = shape.slots + shape.further
        images, texts = (shape.slots, vision.tokens), (told, shape.text_length)
        if shape.patch_rows:
            images = shape.patch_rows, settings.patch_row_tokens
        if shape.text_rows:
            texts = shape.text_rows, settings.text_row_tokens
        found[level] = Level(
            groups * shape.slots,
            groups * told,
            *((groups * rows, tokens) for rows, tokens in (images, texts)),
        )
    return found


def train_step_flops(
    model: Mapping,
    trainable: Collection[str],
    settings: DataSettings,
    *,
    distills: bool,
    accumulate: int = 1,
    batch_ways: int = 1,
    terms: Mapping[str, float] = MappingProxyType({}),
    attention: str = "plain",
) -> Flops:
    """FLOPs of one train step over all devices.

    Args:
      model: Arguments of `models.scenario_clip.ScenarioCLIP`, as in `ModelSpec.model`.
      trainable: Paths of the trained parameters.
      settings: Settings of the batch.
      distills: Whether a teacher runs.
      accumulate: Number of parts in which the batch goes through the towers.
      batch_ways: Number of parts that the mesh splits the batch into, which decides how the loss fills its
        chunks. Neither count includes work that devices along the axis `tensor` duplicate.
      terms: Weights of the recipe's terms, see `train.objective.TERMS`.
      attention: The kernel, see `models.attention.kind_on`.
    """
    towers = {"vision": VisionConfig(**model["vision"]), "text": TextConfig(**model["text"])}
    shapes = level_shapes(settings, towers["vision"])
    levels = {level: shapes[level] for level in levels_of(model["arch"])}
    step = _Step(model, frozenset(trainable), accumulate, attention)
    pooled = pools(model)
    seen = {"global": levels["global"]} if pooled else levels
    parts = {
        kind: _sum(
            step.student(kind, config, level, shape)
            for level, shape in (seen if kind == "vision" else levels).items()
        )
        for kind, config in towers.items()
    }
    if pooled:
        parts["regions"] = step.regions(towers["vision"], levels, settings.packing_groups)
    if distills:
        parts["teacher"] = _sum(
            step.teacher(kind, towers[kind], level, levels[level])
            for kind, read in TEACHER_LEVELS.items()
            for level in read
        )
    parts["loss"] = _sum(
        _pairwise(shape.slots, model.get("embed_dim", 512), batch_ways) for shape in levels.values()
    )
    if any(terms.values()):
        parts["terms"] = _terms(terms, levels, settings.packing_groups, model, batch_ways)
    parts["views"] = Count(0, _views(settings, finer=len(seen) > 1) * step.passes)
    return Flops(parts)


class BlockFlops(NamedTuple):
    """Forward FLOPs of one block's products on one sequence."""

    qkv: int
    scores: int
    values: int
    out: int
    fc1: int
    fc2: int

    @property
    def kernels(self) -> dict[str, int]:
        """Products with a parameter, by the parameter's name."""
        return {name: getattr(self, name) for name in ("qkv", "out", "fc1", "fc2")}


def block_flops(width: int, mlp_dim: int, tokens: int) -> BlockFlops:
    t, w = tokens, width
    return BlockFlops(
        qkv=6 * t * w * w,
        scores=2 * t * t * w,
        values=2 * t * t * w,
        out=2 * t * w * w,
        fc1=2 * t * w * mlp_dim,
        fc2=2 * t * w * mlp_dim,
    )


class _Cost(NamedTuple):
    """FLOPs of a part of a tower."""

    forward: int = 0
    backward: int = 0
    again: int = 0  # forward products that the backward pass recomputes


def _add(costs: list[_Cost]) -> _Cost:
    return _Cost(*map(sum, zip(*costs, strict=True)))


@dataclasses.dataclass(frozen=True)
class _Step:
    """Everything that decides how often each product of a tower is computed."""

    arguments: Mapping  # of the model
    trainable: frozenset[str]
    accumulate: int
    attention: str

    @property
    def passes(self) -> int:
        """Forward passes of the student: accumulation needs one for the embeddings, one for the gradient."""
        return 2 if self.accumulate > 1 else 1

    def student(self, kind: str, config: TowerConfig, level: str, shape: Level) -> Count:
        cost = _add(self._tower(kind, config, level, shape))
        model = cost.forward + cost.backward
        again = (self.passes - 1) * cost.forward + cost.again
        return Count(model, model + again)

    def teacher(self, kind: str, config: TowerConfig, level: str, shape: Level) -> Count:
        """Forward pass only; starts from the student's features if no stem trains."""
        stem, *rest = self._tower(kind, config, level, shape)
        own_stem = any("/stem/" in path for path in self.trainable)
        forward = _add(rest).forward + (stem.forward if own_stem else 0)
        return Count(forward, forward)

    def _tower(self, kind: str, config: TowerConfig, level: str, shape: Level) -> list[_Cost]:
        """Costs of stem, trunk and head of one level on all its rows."""
        branch = branch_of(self.arguments["arch"], level)
        stem = f"{kind}/stem/{'shared' if self.arguments.get('share_stem') else branch}/"
        trunk = f"{kind}/trunk/{branch}/"
        pooled = kind == "vision" and pools(self.arguments)
        head = f"{kind}/head/{level if pooled else head_of(self.arguments['arch'], level)}/"
        rows, tokens = getattr(shape, kind)
        patches = _Cost()
        if isinstance(config, VisionConfig):
            # With packed patches, the places of class tokens are multiplied too.
            patch_tokens = tokens if self.arguments.get("patch_packing") else config.grid**2
            forward = 2 * rows * patch_tokens * 3 * config.patch_size**2 * config.width
            patches = _Cost(forward, forward if f"{stem}patch" in self.trainable else 0)
        block = BlockFlops(*(rows * n for n in block_flops(config.width, config.mlp_dim, tokens)))
        dtype = self.arguments.get("dtype", "float32")
        scores_again = fuses(self.attention, tokens, jnp.dtype(dtype)) * block.scores
        depth = config.stem_blocks
        below = self._trains(stem, but=f"{stem}stack/")
        stem_stack = self._stack(f"{stem}stack/", block, depth, below, scores_again)
        stem_cost = _add([patches, stem_stack])
        below = below or self._trains(stem) or self._trains(f"{kind}/level/")
        length = config.depth - depth
        trunk_cost = self._stack(f"{trunk}stack/", block, length, below, scores_again)
        below = below or self._trains(trunk)
        if isinstance(config, VisionConfig) and not config.has_class_token:
            trunk_cost = _add([trunk_cost, self._attention_pool(config, rows, below)])
        # Every slot is projected, even if several share a text.
        read = shape.slots if kind == "vision" else shape.texts
        forward = 2 * read * config.width * self.arguments.get("embed_dim", 512)
        trains = f"{head}projection/kernel" in self.trainable
        return [stem_cost, trunk_cost, _Cost(forward, forward * (below + trains))]

    def _attention_pool(self, config: VisionConfig, rows: int, below: bool) -> _Cost:
        """Products of `models.attention_pool`, whose query is one for all views."""
        width, tokens = config.width, config.tokens
        forward = 2 * width * (2 * tokens * width + 2 * tokens + width + 2 * config.mlp_dim)
        return _Cost(rows * forward, 2 * rows * forward if below else 0)

    def regions(self, config: VisionConfig, levels: Mapping[str, Level], groups: int) -> Count:
        """Pooling of objects and relations from the photos' tokens, and their heads; all of it trains."""
        width, tokens = config.width, config.grid**2
        scenes = levels["global"].slots
        parts = self.arguments.get("object_parts", 1)
        boxes = 1 + (parts**2 if parts > 1 else 0)  # of an object
        objects, pairs, read = levels["object"].slots, levels["relation"].slots, width
        if self.arguments.get("ends_as_objects", False):
            objects, read = objects + 2 * pairs, 2 * width
        of_kernels, of_pooling = 2 * objects * (boxes - 1) * width * width, 0
        for level, pooled in {"object": objects * boxes, "relation": 2 * pairs}.items():
            of_kernels += 2 * scenes * tokens * width * (width + config.heads)
            of_pooling += 2 * pooled * (scenes // groups) * tokens * (width + config.heads)
            of_kernels += 2 * levels[level].slots * width * self.arguments.get("embed_dim", 512)
        of_kernels += 2 * objects * 2 * 4 * width * width
        of_kernels += 2 * pairs * 4 * width * (2 * (2 * read + GEOMETRY) + width)
        # The boxes aren't learned, so pooling has a derivative for the tokens only.
        model = 3 * of_kernels + 2 * of_pooling
        again = (self.passes - 1) * (of_kernels + of_pooling)
        return Count(model, model + again)

    def _trains(self, prefix: str, but: str = "\0") -> bool:
        """Whether any parameter under `prefix` trains, except those under `but`."""
        return any(p.startswith(prefix) and not p.startswith(but) for p in self.trainable)

    def _stack(
        self, prefix: str, block: BlockFlops, length: int, below: bool, scores_again: int
    ) -> _Cost:
        """The cost of a scanned stack of blocks; `below`: whether its input depends on something that trains.

        The scan runs the same backward pass for all its blocks, so the lowest block computes the derivative for
        its input even if nothing needs it. This is counted; it is the usual "backward is twice forward".
        """
        forward = sum(block) * length
        if not (below or self._trains(prefix)):
            return _Cost(forward)
        trained = {n: f"{prefix}blocks/{n}/kernel" in self.trainable for n in block.kernels}
        by_input = sum(block.kernels.values()) + 2 * (block.scores + block.values)
        by_kernel = sum(cost for name, cost in block.kernels.items() if trained[name])
        remat = self.arguments.get("remat", "none")
        again = 0
        if remat == "full":  # all but the last product, whose result no derivative needs
            again = sum(block) - block.fc2
        elif remat == "dots":  # products with parameters are kept, those of attention aren't
            again = block.scores + (block.values if trained["out"] else 0)
        return _Cost(forward, (by_input + by_kernel) * length, (again + scores_again) * length)


def _pairwise(slots: int, dim: int, batch_ways: int, others: int = 0) -> Count:
    """A contrastive loss that compares every slot with every slot, or others, see `losses.pairwise`."""
    others = others or slots
    here = others // batch_ways
    chunks = -(-here // CHUNK)
    columns = batch_ways * chunks * -(-here // chunks)  # the last chunk is padded
    return Count(6 * slots * others * dim, 8 * slots * columns * dim)


def _terms(
    terms: Mapping[str, float],
    levels: Mapping[str, Level],
    groups: int,
    model: Mapping,
    batch_ways: int,
) -> Count:
    """The terms of a recipe. Backward, a product of two embeddings costs twice its forward pass."""
    dim, on, total = model.get("embed_dim", 512), {k for k, v in terms.items() if v}, Count()
    if on & {"negatives", "paraphrases", "scene_texts", "scene_pictures", "texts"}:
        shape = levels["relation"]
        times = 1 + ("texts" in on)
        flops = 6 * times * shape.slots * shape.texts // groups * dim
        total = total.plus(Count(flops, flops))
    if "captions" in on:
        total = total.plus(_pairwise(levels["global"].slots, dim, batch_ways))
    if "parts" in on:
        for level in ("object", "relation"):
            photos = levels["global"].slots
            total = total.plus(_pairwise(levels[level].slots, dim, batch_ways, photos))
    return total


def _views(settings: DataSettings, *, finer: bool) -> int:
    """Resampling C x C to P x P by two matrices, for the scene's own view and for the others' center view."""
    c, p = settings.canvas_size, settings.image_size
    one = 2 * 3 * (c * c * p + c * p * p)
    pictures = settings.packing_groups * settings.scenes * (2 if finer else 1)
    if finer and settings.focus_images:
        pictures += settings.packing_groups * settings.level("relation").slots
    return one * pictures


def _sum(counts) -> Count:
    total = Count()
    for count in counts:
        total = total.plus(count)
    return total
