"""Converts between the published implementation's parameter names and ours, both ways.

Its modules are `visual_encoder`, `text_encoder`, `image_projection`, … for `pyramid_clip`, and the same names
with the prefixes `global_`, `object_` and `relation_` for `scenario_clip_0` and `scenario_clip_1`. The folder
for PyTorch uses these names too, with only `global_` for `clip`.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from scenarioclip_jax.interop import clip_towers
from scenarioclip_jax.models.scenario_clip import branch_of, levels_of
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

Arrays = dict[str, np.ndarray]
# Our modality -> their (tower, infix, head).
MODALITIES = {
    "vision": ("visual_encoder", "vision_model", "image"),
    "text": ("text_encoder", "text_model", "text"),
}
# Parameters of each level's loss; only our models have the second, for the sigmoid loss.
SCALARS = ("logit_scale", "logit_bias")
# Our head -> theirs.
HEAD_NAMES = {
    "projection/kernel": "projection.weight",
    "projection/bias": "projection.bias",
    "norm/scale": "norm.weight",
    "norm/bias": "norm.bias",
}


def branches(arch: str) -> dict[str, str]:
    """Our branch -> their prefix."""
    ours = dict.fromkeys(branch_of(arch, level) for level in levels_of(arch))
    return {branch: "" if branch == "all" else f"{branch}_" for branch in ours}


def plain(name: str) -> str:
    """Removes `vision_model.` or `text_model.` from a name, which only some versions of Transformers add."""
    return re.sub(r"(visual|text)_encoder\.(vision|text)_model\.", r"\1_encoder.", name)


def expected_shapes(
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    embed_dim: int,
    *,
    logit_bias: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Each of their names, as `plain` returns it, with its shape."""
    shapes = {}
    for modality, (tower, _, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        head_shapes = {
            "projection.weight": (embed_dim, config.width),
            **dict.fromkeys(("projection.bias", "norm.weight", "norm.bias"), (embed_dim,)),
        }
        for prefix in branches(arch).values():
            for name, shape in clip_towers.expected_shapes(config).items():
                shapes[f"{prefix}{tower}.{name}"] = shape
            for name, shape in head_shapes.items():
                shapes[f"{prefix}{head}_{name}"] = shape
    scalars = SCALARS if logit_bias else SCALARS[:1]
    return shapes | {
        f"{level}_loss.{scalar}": () for level in levels_of(arch) for scalar in scalars
    }


def to_ours(
    theirs: Mapping[str, np.ndarray],
    arch: str,
    vision: VisionConfig,
    text: TextConfig,
    *,
    share_stem: bool = False,
) -> Arrays:
    """Converts reference parameters to our names.

    Args:
      theirs: Arrays by PyTorch name; tower names may have `vision_model.` / `text_model.` or not. Logit scales
        may be missing, since a teacher has none.

    Raises:
      ValueError: `share_stem` is True but the levels' stems differ.
    """
    ours: Arrays = {}
    different = []
    for path, value in pairs(theirs, arch, vision, text, share_stem=share_stem):
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
    share_stem: bool,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the result of `to_ours` tower by tower; a shared stem appears once per branch."""
    names = {plain(name): name for name in theirs}
    for modality, (tower, _, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        for branch, prefix in branches(arch).items():
            start = f"{prefix}{tower}."
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
            for path, name in HEAD_NAMES.items():
                value = theirs[f"{prefix}{head}_{name}"]
                yield f"{modality}/head/{branch}/{path}", value.T if value.ndim == 2 else value
    for level in levels_of(arch):
        for scalar in SCALARS:
            if f"{level}_loss.{scalar}" in theirs:
                yield f"{scalar}/{level}", theirs[f"{level}_loss.{scalar}"]


def to_theirs(
    ours: Mapping[str, np.ndarray], arch: str, vision: VisionConfig, text: TextConfig
) -> Arrays:
    """The inverse of `to_ours`. A shared stem is written out for every branch.

    The resulting arrays are views of those in `ours`, so this costs no memory.
    """
    theirs = {}
    for modality, (tower, infix, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        for branch, prefix in branches(arch).items():
            for name, value in branch_tower(ours, modality, branch, config).items():
                theirs[f"{prefix}{tower}.{infix}.{name}"] = value
            for name, value in branch_head(ours, modality, branch).items():
                theirs[f"{prefix}{head}_{name}"] = value
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


def branch_head(ours: Mapping[str, np.ndarray], modality: str, branch: str) -> Arrays:
    """The head of a branch, as `projection.weight`, …"""
    head = {name: ours[f"{modality}/head/{branch}/{path}"] for path, name in HEAD_NAMES.items()}
    return {name: value.T if value.ndim == 2 else value for name, value in head.items()}
