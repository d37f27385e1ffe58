"""The main figures of an evaluation: those that represent a suite in the report and on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from scenarioclip_jax.evaluation.sections import suite_of

# Suffixes of the metrics that represent a suite in the overview and on the terminal.
HEADLINES = {
    "zero_shot": ("/top1",),
    "retrieval": ("/R@5",),
    "linear_probe": ("/top1",),
    "hard_negatives": ("",),
    "paraphrases": ("",),
    "half_truth": ("",),
    "photo_search": ("/R@5",),
    "aro": ("/macro_accuracy",),
    "aro_order": ("/accuracy",),
    "sugarcrepe": ("mean_accuracy",),
    "sugarcrepe_pp": ("mean_image_text", "mean_text_only"),
    "winoground": ("text", "image", "group"),
    "cola": ("text", "image", "group"),
    "colorswap": ("text", "image", "group"),
    "eqben": ("mean_group",),
    "mmvp": ("mean_image",),
    "bivlc": ("I2T", "T2I", "group"),
    "valse": ("mean_accuracy",),
    "vl_checklist": ("/accuracy",),
    "whatsup": ("/individual", "/pair", "/set"),
    "vsr": ("accuracy",),
    "svo": ("accuracy",),
    "captions": ("/R@1",),
    "urban1k": ("/R@1",),
    "docci": ("/R@1",),
    "dci": ("/R@1",),
    "hico_det": ("mAP",),
    "swig_hoi": ("mAP",),
    "predcls": ("R@50",),
    "vg150": ("/R@50", "/mR@50"),
    "refcoco": ("/testA", "/testB", "/test"),
    "fg_ovd": ("/accuracy",),
    "detection": ("top1", "AP"),
    "imagenet": ("top1",),
}
# Suites whose parts aren't among them.
WHOLE = ("bivlc", "hico_det", "swig_hoi")


def headlines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The main figures that are shares, as (section, metric), in the report's order.

    A suite without any of its usual ones, as of partial files, is represented by its first share.
    """
    chosen = []
    for section, entry in summary["suites"].items():
        metrics = next(iter(entry["columns"].values()))["metrics"]
        shares = [name for name, values in metrics.items() if values["unit"] == "share"]
        names = headline_metrics(suite_of(section), shares) or shares[:1]
        chosen += [(section, name) for name in names]
    return chosen


def headline_metrics(suite: str, names: Sequence[str]) -> list[str]:
    """The metrics that represent a suite; the first one if the suite isn't known."""
    endings = HEADLINES.get(suite)
    if not endings:
        return list(names[:1])
    plain = [name for name in names if "any_label_" not in name and "unseen" not in name]
    if suite in ("zero_shot", "linear_probe", "detection", "imagenet"):
        plain = [name for name in plain if "macro_" not in name]
    if suite in WHOLE:
        plain = [name for name in plain if "/" not in name]
    return [name for name in plain if name.endswith(endings)]
