"""Converts between the published implementation's parameter names and ours, both ways.

Its modules are `visual_encoder`, `text_encoder`, `image_projection`, … for `pyramid_clip`, and the same names
with the prefixes `global_`, `object_` and `relation_` for `scenario_clip_0` and `scenario_clip_1`. The folder
for PyTorch uses these names too, with only `global_` for `clip`, and ours for what isn't published: pooled
regions (`regions.…`) and the vectors of `scenario_clip_shared` that tell a tower its level (`text_level_…`).
"""

import re
from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from scenarioclip_jax.interop import clip_towers
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.regions import Regions
from scenarioclip_jax.models.scenario_clip import levels_of, parts_of
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

Arrays = dict[str, np.ndarray]
# Our modality -> their (tower, infix, head).
MODALITIES = {
    "vision": ("visual_encoder", "vision_model", "image"),
    "text": ("text_encoder", "text_model", "text"),
}
# Our modality -> the names in PyTorch of the vectors that tell its tower a level, without the level.
TOLD = {"vision": "visual_level_", "text": "text_level_"}
# Parameters of each level's loss; only our models have the second, for the sigmoid loss.
SCALARS = ("logit_scale", "logit_bias")
# Our head -> theirs.
HEAD_NAMES = {
    "projection/kernel": "projection.weight",
    "projection/bias": "projection.bias",
    "norm/scale": "norm.weight",
    "norm/bias": "norm.bias",
}


def prefix_of(name: str) -> str:
    """Their prefix of the tower or head that has this name here."""
    return "" if name == "all" else f"{name}_"


def plain(name: str) -> str:
    """Removes `vision_model.` or `text_model.` from a name, which only some versions of Transformers add."""
    return re.sub(r"(visual|text)_encoder\.(vision|text)_model\.", r"\1_encoder.", name)


def expected_shapes(
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    embed_dim: int,
    *,
    pooled: bool = False,
    object_parts: int = 1,
    ends_as_objects: bool = False,
    logit_bias: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Each of their names, as `plain` returns it, with its shape."""
    shapes = {}
    for modality, (tower, _, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        parts = parts_of(arch, modality, pooled=pooled)
        head_shapes = {
            "projection.weight": (embed_dim, config.width),
            **dict.fromkeys(("projection.bias", "norm.weight", "norm.bias"), (embed_dim,)),
        }
        for branch in parts.towers:
            for name, shape in clip_towers.expected_shapes(config).items():
                shapes[f"{prefix_of(branch)}{tower}.{name}"] = shape
        for each in parts.heads:
            for name, shape in head_shapes.items():
                shapes[f"{prefix_of(each)}{head}_{name}"] = shape
        shapes |= {f"{TOLD[modality]}{level}": (config.width,) for level in parts.told}
    if pooled:
        regions = _region_shapes(vision, object_parts, ends_as_objects)
        shapes |= {_theirs(path): shape[::-1] for path, shape in regions.items()}
    scalars = SCALARS if logit_bias else SCALARS[:1]
    return shapes | {
        f"{level}_loss.{scalar}": () for level in levels_of(arch) for scalar in scalars
    }


def _region_shapes(
    vision: VisionConfig, parts: int, ends_as_objects: bool
) -> dict[str, tuple[int, ...]]:
    """Our names of what pools regions, with their shapes."""
    sizes = vision.width, vision.heads, parts
    how = {"ends_as_objects": ends_as_objects, "dtype": jnp.dtype("float32")}
    _, shapes = parameters.abstract(lambda: Regions(*sizes, **how, rngs=nnx.Rngs(0)))
    return {f"regions/{path}": tuple(shape.shape) for path, shape in shapes.items()}


def _theirs(path: str) -> str:
    """The name in PyTorch of a linear layer's parameter; a kernel is the transpose of a weight."""
    return path.replace("/", ".").replace(".kernel", ".weight")


def _ours(name: str) -> str:
    """The inverse of `_theirs`."""
    return name.replace(".", "/").replace("/weight", "/kernel")


def to_ours(
    theirs: Mapping[str, np.ndarray],
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    *,
    pooled: bool = False,
    share_stem: bool = False,
) -> Arrays:
    """Converts reference parameters to our names.

    Args:
      theirs: Arrays by PyTorch name; tower names may have `vision_model.` / `text_model.` or not. Logit scales
        may be missing, since a teacher has none.
      pooled: Whether objects and relations are pooled from whole photos.

    Raises:
      ValueError: `share_stem` is True but the levels' stems differ.
    """
    ours: Arrays = {}
    different = []
    for path, value in pairs(theirs, arch, vision, text, pooled=pooled, share_stem=share_stem):
        # Only a shared stem appears several times.
        if path in ours and not np.array_equal(ours[path], value):
            different.append(path)
        ours.setdefault(path, value)
    if different:
        raise ValueError(
            f"the levels' stems differ and can't be shared: {', '.join(dict.fromkeys(different))}; "
            "use share_stem=False (no --share-stem)"
        )
    return ours


def pairs(
    theirs: Mapping[str, np.ndarray],
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    *,
    pooled: bool = False,
    share_stem: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the result of `to_ours` tower by tower; a shared stem appears once per branch."""
    names = {plain(name): name for name in theirs}
    for modality, (tower, _, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        parts = parts_of(arch, modality, pooled=pooled)
        for branch in parts.towers:
            start = f"{prefix_of(branch)}{tower}."
            part = {
                key.removeprefix(start): theirs[name]
                for key, name in names.items()
                if key.startswith(start)
            }
            for path, value in clip_towers.to_ours(part, config).items():
                kind, rest = path.split("/", 1)
                shared = share_stem and kind == "stem"
                yield f"{modality}/{kind}/{'shared' if shared else branch}/{rest}", value
            del part
        for each in parts.heads:
            for path, name in HEAD_NAMES.items():
                value = theirs[f"{prefix_of(each)}{head}_{name}"]
                yield f"{modality}/head/{each}/{path}", value.T
        for level in parts.told:
            yield f"{modality}/level/{level}", theirs[f"{TOLD[modality]}{level}"]
    for name in names:
        if name.startswith("regions."):
            yield _ours(name), theirs[names[name]].T
    for level in levels_of(arch):
        for scalar in SCALARS:
            if f"{level}_loss.{scalar}" in theirs:
                yield f"{scalar}/{level}", theirs[f"{level}_loss.{scalar}"]


def to_theirs(
    ours: Mapping[str, np.ndarray],
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    *,
    pooled: bool = False,
) -> Arrays:
    """The inverse of `to_ours`. A shared stem is written out for every branch.

    The resulting arrays are views of those in `ours`, so this costs no memory.
    """
    theirs = {}
    for modality, (tower, infix, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        parts = parts_of(arch, modality, pooled=pooled)
        for branch in parts.towers:
            for name, value in branch_tower(ours, modality, branch, config).items():
                theirs[f"{prefix_of(branch)}{tower}.{infix}.{name}"] = value
        for each in parts.heads:
            for name, value in branch_head(ours, modality, each).items():
                theirs[f"{prefix_of(each)}{head}_{name}"] = value
        for level in parts.told:
            theirs[f"{TOLD[modality]}{level}"] = ours[f"{modality}/level/{level}"]
    for path, value in ours.items():
        if path.startswith("regions/"):
            theirs[_theirs(path)] = value.T
    for level in levels_of(arch):
        for scalar in SCALARS:
            if f"{scalar}/{level}" in ours:
                theirs[f"{level}_loss.{scalar}"] = ours[f"{scalar}/{level}"]
    return theirs


def branch_tower(
    ours: Mapping[str, np.ndarray], modality: str, branch: str, config: VisionConfig | TextConfig
) -> Arrays:
    """The tower that serves a branch, in Hugging Face's names."""
    pattern = re.compile(rf"{modality}/(?:(stem)/(?:{branch}|shared)|(trunk)/{branch})/(.+)")
    part = {
        f"{m[1] or m[2]}/{m[3]}": value
        for path, value in ours.items()
        if (m := pattern.fullmatch(path))
    }
    return clip_towers.to_theirs(part, config)


def branch_head(ours: Mapping[str, np.ndarray], modality: str, head: str) -> Arrays:
    """A head, as `projection.weight`, …"""
    return {name: ours[f"{modality}/head/{head}/{path}"].T for path, name in HEAD_NAMES.items()}
