"""The names of suites, levels and metrics in the report; `results.json` keeps the keys."""

import re
from typing import NamedTuple

SUITES = {
    "zero_shot": "Zero-shot recognition",
    "retrieval": "Retrieval",
    "hard_negatives": "Hard negatives",
    "linear_probe": "Linear probe",
    "paraphrases": "Paraphrases",
    "half_truth": "Half-truths",
    "photo_search": "Photo search",
    "aro": "ARO",
    "aro_order": "ARO, order",
    "sugarcrepe": "SugarCrepe",
    "sugarcrepe_pp": "SugarCrepe++",
    "winoground": "Winoground",
    "cola": "COLA",
    "colorswap": "ColorSwap",
    "eqben": "EqBen",
    "mmvp": "MMVP-VLM",
    "bivlc": "BiVLC",
    "valse": "VALSE",
    "vl_checklist": "VL-CheckList",
    "whatsup": "What's Up",
    "vsr": "Visual Spatial Reasoning",
    "svo": "SVO-Probes",
    "captions": "Caption retrieval",
    "urban1k": "Urban-1k",
    "docci": "DOCCI",
    "dci": "DCI",
    "hico_det": "HICO-DET",
    "swig_hoi": "SWiG-HOI",
    "predcls": "Predicate classification",
    "vg150": "Visual Genome, 150 classes",
    "refcoco": "RefCOCO",
    "fg_ovd": "FG-OVD",
    "detection": "Recognition of boxes",
    "imagenet": "ImageNet",
}
LEVELS = {"global": "Global", "object": "Object", "relation": "Relation"}
KINDS = {"global": "actions", "object": "object names", "relation": "triplets"}
COLUMNS = LEVELS | {"caption": "Caption"}
# Suites whose metrics start with a level, which gets a column of its own.
BY_LEVEL = ("zero_shot", "retrieval", "linear_probe", "half_truth", "photo_search")
_TOP = re.compile(r"(macro_)?(any_label_)?top(\d+)")
_RECALL = re.compile(r"(?:(text_to_image|image_to_text)/)?(R@\d+|median_rank)")
_PREDCLS = re.compile(r"(?:(predcls|sgcls)/)?(ng-mR|ng-R|zR|R|present_mR|mR)@(\d+)")
_WAYS = {"text_to_image": "text to image, ", "image_to_text": "image to text, ", None: ""}
_RECALLS = {
    "R": "recall",
    "ng-R": "recall, several predicates per pair",
    "zR": "recall of unseen triplets",
    "mR": "mean recall over predicates",
    "present_mR": "mean recall over predicates in the data",
    "ng-mR": "mean recall over predicates, several per pair",
}
_TWO_BY_TWO = {"text": "text score", "image": "image score", "group": "group score"}
_MEANS = {f"mean_{key}": f"{words}, mean over parts" for key, words in _TWO_BY_TWO.items()}
_SPLITS = {
    "val": "validation split",
    "test": "test split",
    "testA": "test split A, people",
    "testB": "test split B, other things",
}
_WORDS = {
    "refcoco": _SPLITS,
    "zero_shot": {"unseen_top1": "top 1, triplets unseen in training"},
    "half_truth": {
        "relation": "true text beats one with a false relation",
        "object": "true text beats one with an absent object",
        "truth": "a true relation added beats a false one added",
    },
    "hard_negatives": {
        "all": "beats all of its negatives",
        "swapped ends": "beats swapped subject and object",
        "other predicate": "beats another predicate",
        "other object": "beats another object",
        "other subject": "beats another subject",
        "other": "beats other changes",
    },
    "paraphrases": {
        "beats negatives": "paraphrase beats the negatives",
        "same verdict": "same verdict as the original text",
    },
    "aro": {"macro_accuracy": "accuracy, mean over groups", "accuracy": "accuracy"},
    "sugarcrepe": {"mean_accuracy": "accuracy, mean over subsets", "accuracy": "accuracy"},
    "sugarcrepe_pp": {
        "mean_image_text": "image to text, mean over subsets",
        "mean_text_only": "text only, mean over subsets",
        "image_text": "image to text",
        "text_only": "text only",
    },
    **dict.fromkeys(("winoground", "cola", "colorswap"), _TWO_BY_TWO),
    **dict.fromkeys(("eqben", "mmvp"), _TWO_BY_TWO | _MEANS),
    "bivlc": {
        "I2T": "text score (I2T)",
        "T2I": "image score (T2I)",
        "group": "group score",
        "Ipos_2T": "photo finds its caption",
        "Ineg_2T": "made image finds its caption",
        "Tpos_2I": "caption finds its photo",
        "Tneg_2I": "caption finds its made image",
    },
    "aro_order": {"accuracy": "accuracy"},
    "valse": {"mean_accuracy": "accuracy, mean over files", "accuracy": "accuracy"},
    "whatsup": {
        "individual": "single photos",
        "mean_individual": "single photos, mean over subsets",
        "pair": "pairs of opposites",
        "set": "sets of four",
    },
    "detection": {
        "AP": "AP",
        "AP50": "AP at IoU 0.5",
        "AP75": "AP at IoU 0.75",
        "APr": "AP of rare classes",
        "APc": "AP of common classes",
        "APf": "AP of frequent classes",
    },
    "fg_ovd": {"accuracy": "accuracy", "median_rank": "median rank", "AP": "AP"},
    "vg150": {"objects/accuracy": "object names, accuracy"},
    "hico_det": {"mAP": "mAP", "known_mAP": "mAP, photos with the object only"},
    "swig_hoi": {"mAP": "mAP"},
    "vl_checklist": {"accuracy": "accuracy, mean over files"},
    "vsr": {"accuracy": "accuracy"},
    "svo": {"accuracy": "accuracy"},
}


class Name(NamedTuple):
    """The place of a metric in the tables.

    Attributes:
      column: Its level or another part of that kind, a key of COLUMNS or a text; empty if there is none.
      text: What it measures.
      folded: Whether it belongs to a second table, of other ways to count the same thing.
    """

    column: str
    text: str
    folded: bool = False


def known_metric(suite: str, key: str) -> Name | None:
    """The name of a metric of a suite; None if it has none."""
    column, rest = "", key
    if suite in BY_LEVEL:
        column, _, rest = key.partition("/")
    if found := _TOP.fullmatch(rest):
        macro, any_label, k = found.groups()
        text = f"top {k}" + (", any label" if any_label else "")
        return Name(
            column, text + (", mean over classes" if macro else ""), bool(any_label or macro)
        )
    if found := _RECALL.fullmatch(rest):
        way, what = found.groups()
        return Name(column, _WAYS[way] + what.replace("R@", "recall@").replace("_", " "))
    if suite in ("predcls", "vg150") and (found := _PREDCLS.fullmatch(rest)):
        task, kind, k = found.groups()
        column = {None: column, "predcls": "PredCls", "sgcls": "SGCls"}[task]
        return Name(column, f"{_RECALLS[kind]}, @{k}", kind not in ("R", "mR"))
    words = _WORDS.get(suite, {})
    if rest.endswith(", unseen") and (text := words.get(rest.removesuffix(", unseen"))):
        return Name(column, f"{text}, triplets unseen in training")
    if rest in words:
        return Name(column, words[rest])
    part, _, what = rest.rpartition("/")
    if part and what in words:  # a subset of the suite's records
        return Name(column, f"{part.replace('_', ' ')}: {words[what]}")
    return None


def metric_name(suite: str, key: str) -> Name:
    """The name of a metric; for one that isn't known, its key with blanks."""
    return known_metric(suite, key) or Name("", key.replace("_", " ").replace("/", ", "))


def suite_name(suite: str) -> str:
    """The name of a suite; for one that isn't known, its key with blanks."""
    return SUITES.get(suite, suite.replace("_", " "))


def column_name(column: str) -> str:
    """The heading of a table's column."""
    level, as_, other = column.partition(
        " as "
    )  # photo search reads a level's texts by another tower
    name = COLUMNS.get(level, level)
    return f"{name}{as_}{other}"


def one_line(suite: str, key: str) -> str:
    """A metric's column and name in one line, for charts."""
    column, text, _ = metric_name(suite, key)
    return f"{column_name(column)}: {text}" if column else text
