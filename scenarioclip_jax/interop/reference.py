"""The published implementation's parameter names, and ours, both ways.

Its modules are `visual_encoder`, `text_encoder`, `image_projection`, … for `pyramid_clip`, and the same
names behind `global_`, `object_` and `relation_` for `scenario_clip_0` and `scenario_clip_1`.
"""

import re

import numpy as np

from scenarioclip_jax.interop import clip_towers
from scenarioclip_jax.models.scenario_clip import branch_of, levels_of
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

Arrays = dict[str, np.ndarray]
ARCHITECTURES = ("pyramid_clip", "scenario_clip_0", "scenario_clip_1")
# Modality of ours -> (tower, infix, head) of theirs.
MODALITIES = {
    "vision": ("visual_encoder", "vision_model", "image"),
    "text": ("text_encoder", "text_model", "text"),
}


def branches(arch: str) -> dict[str, str]:
    """Our branch -> their prefix."""
    ours = dict.fromkeys(branch_of(arch, level) for level in levels_of(arch))
    return {branch: "" if branch == "shared" else f"{branch}_" for branch in ours}


def to_ours(theirs: Arrays, arch: str, vision: VisionConfig, text: TextConfig) -> Arrays:
    """Reference parameters in our names, `share_stem=False`.

    Args:
      theirs: PyTorch name -> array; tower names with or without `vision_model.` / `text_model.`.
    """
    ours = {}
    for modality, (tower, infix, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        for branch, prefix in branches(arch).items():
            pattern = re.compile(rf"{prefix}{tower}\.(?:{infix}\.)?(.+)")
            part = {m[1]: value for name, value in theirs.items() if (m := pattern.fullmatch(name))}
            for path, value in clip_towers.to_ours(part, config).items():
                kind, rest = path.split("/", 1)
                ours[f"{modality}/{kind}/{branch}/{rest}"] = value
            ours[f"{modality}/head/{branch}/projection/kernel"] = theirs[
                f"{prefix}{head}_projection.weight"
            ].T
            ours[f"{modality}/head/{branch}/projection/bias"] = theirs[
                f"{prefix}{head}_projection.bias"
            ]
            ours[f"{modality}/head/{branch}/norm/scale"] = theirs[f"{prefix}{head}_norm.weight"]
            ours[f"{modality}/head/{branch}/norm/bias"] = theirs[f"{prefix}{head}_norm.bias"]
    for level in levels_of(arch):
        ours[f"logit_scale/{level}"] = theirs[f"{level}_loss.logit_scale"]
    return ours


def to_theirs(ours: Arrays, arch: str, vision: VisionConfig, text: TextConfig) -> Arrays:
    """The inverse of `to_ours`. A shared stem is written out for every branch."""
    theirs = {}
    for modality, (tower, infix, head) in MODALITIES.items():
        config = vision if modality == "vision" else text
        for branch, prefix in branches(arch).items():
            pattern = re.compile(
                rf"{modality}/(?:(stem)/(?:{branch}|shared)|(trunk)/{branch})/(.+)"
            )
            part = {
                f"{m[1] or m[2]}/{m[3]}": value
                for path, value in ours.items()
                if (m := pattern.fullmatch(path))
            }
            for name, value in clip_towers.to_theirs(part, config).items():
                theirs[f"{prefix}{tower}.{infix}.{name}"] = value
            base = f"{modality}/head/{branch}"
            theirs[f"{prefix}{head}_projection.weight"] = ours[f"{base}/projection/kernel"].T
            theirs[f"{prefix}{head}_projection.bias"] = ours[f"{base}/projection/bias"]
            theirs[f"{prefix}{head}_norm.weight"] = ours[f"{base}/norm/scale"]
            theirs[f"{prefix}{head}_norm.bias"] = ours[f"{base}/norm/bias"]
    for level in levels_of(arch):
        theirs[f"{level}_loss.logit_scale"] = ours[f"logit_scale/{level}"]
    return theirs
