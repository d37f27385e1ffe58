"""Whatever a suite scores has a name that people use."""

import importlib
import itertools
from pathlib import Path

import pytest

from scenarioclip_jax.evaluation import suites
from scenarioclip_jax.evaluation.report.headlines import HEADLINES
from scenarioclip_jax.evaluation.report.names import (
    SUITES,
    column_name,
    known_metric,
    metric_name,
    one_line,
)
from scenarioclip_jax.evaluation.suites.registry import registered


def each(*parts):
    return ["".join(some) for some in itertools.product(*parts)]


LEVELS = ("global/", "object/", "relation/")
RECALLS = ("R@1", "R@5", "R@10", "median_rank")
KINDS = ("all", "swapped ends", "other predicate", "other object", "other subject", "other")
KINDS_OF_RECALL = ("R", "ng-R", "zR", "mR", "present_mR", "ng-mR")
KEYS = {  # every metric that a suite writes into `results.json`
    "zero_shot": [
        *each(LEVELS, ("", "macro_"), ("", "any_label_"), ("top1", "top5", "top10")),
        "relation/unseen_top1",
    ],
    "retrieval": each((*LEVELS, "caption/"), ("text_to_image/", "image_to_text/"), RECALLS),
    "linear_probe": each(LEVELS, ("top1", "top5", "top10")),
    "hard_negatives": each(KINDS, ("", ", unseen")),
    "paraphrases": ["beats negatives", "same verdict"],
    "half_truth": {*each(("global/", "relation/"), ("relation", "object")), "global/truth"},
    "photo_search": each(("object", "relation"), ("", " as global"), ("/",), RECALLS),
    "aro": each(("relation/", "attribution/"), ("macro_accuracy", "accuracy")),
    "aro_order": each(("COCO/", "Flickr30k/"), ("accuracy",)),
    "sugarcrepe": ["swap_obj/accuracy", "mean_accuracy"],
    "sugarcrepe_pp": [
        *each(("swap_object/", "mean_"), ("image_text", "text_only")),
    ],
    "winoground": ["text", "image", "group"],
    **{suite: ["text", "image", "group"] for suite in ("cola", "colorswap")},
    **{
        suite: each(("", "mean_", "a part/"), ("text", "image", "group"))
        for suite in ("eqben", "mmvp")
    },
    "bivlc": [
        *each(("", "swap/"), ("I2T", "T2I", "group")),
        *("Ipos_2T", "Ineg_2T", "Tpos_2I", "Tneg_2I"),
    ],
    "valse": ["counting-hard/accuracy", "mean_accuracy"],
    "whatsup": [
        *each(("A/", "B/"), ("individual", "pair", "set")),
        *("COCO one/individual", "mean_individual"),
    ],
    "refcoco": [
        *each(("refcoco/", "refcoco+/"), ("val", "testA", "testB")),
        *("refcocog/val", "refcocog/test"),
    ],
    "fg_ovd": each(("hard/", "color/"), ("accuracy", "median_rank", "AP")),
    "detection": [
        *each(("", "macro_"), ("top1", "top5")),
        "AP",
        "AP50",
        "AP75",
        "APr",
        "APc",
        "APf",
    ],
    "imagenet": each(("", "macro_"), ("top1", "top5")),
    "vl_checklist": each(("attribute/", "object/", "relation/"), ("accuracy",)),
    "vsr": ["accuracy"],
    "svo": ["accuracy", *each(("subject/", "verb/", "object/"), ("accuracy",))],
    **{
        suite: each(("text_to_image/", "image_to_text/"), RECALLS[:3])
        for suite in ("urban1k", "docci", "dci")
    },
    "captions": each(("text_to_image/", "image_to_text/"), RECALLS[:3]),
    "hico_det": [*each(("", "rare/", "non-rare/"), ("mAP",)), "known_mAP"],
    "swig_hoi": each(("", "unseen/", "rare/", "frequent/"), ("mAP",)),
    "predcls": each(KINDS_OF_RECALL, ("@20", "@50", "@100")),
    "vg150": [
        *each(("predcls/", "sgcls/"), KINDS_OF_RECALL, ("@20", "@50", "@100")),
        "objects/accuracy",
    ],
}


def test_every_suite_is_here_and_has_a_name():
    assert set(KEYS) == set(registered()) == set(SUITES) == set(HEADLINES)


@pytest.mark.parametrize("suite", KEYS)
def test_every_metric_has_a_name_of_its_own(suite):
    named = [known_metric(suite, key) for key in KEYS[suite]]
    assert None not in named
    assert len(set(named)) == len(named)
    for _, text, _ in named:
        assert "_" not in text


def test_names_are_those_of_the_field():
    assert metric_name("zero_shot", "object/macro_any_label_top10") == (
        "object",
        "top 10, any label, mean over classes",
        True,
    )
    assert one_line("retrieval", "relation/text_to_image/R@1") == (
        "Relation: text to image, recall@1"
    )
    assert column_name("object as global") == "Object as global"


def test_what_has_no_name_keeps_its_key_with_blanks():
    assert known_metric("zero_shot", "global/some_new_score") is None
    assert metric_name("zero_shot", "global/some_new_score").text == "global, some new score"


def test_protocols_are_in_words():
    """Keys of `results.json` belong there; what explains a table speaks of its rows."""
    package = Path(suites.__path__[0])
    found = [
        (path.stem, name, getattr(module, name))
        for path in sorted(package.glob("*.py"))
        for module in [importlib.import_module(f"{suites.__name__}.{path.stem}")]
        for name in vars(module)
        if name.startswith("PROTOCOL")
    ]
    assert len(found) >= 18
    for module, name, text in found:
        assert "_" not in text, f"{module}.{name}"
