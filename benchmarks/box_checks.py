"""How often the builder recognizes boxes of another convention, and how often it takes right ones for such.

    python -m benchmarks.box_checks --json FILE [--seeds 12] [--roots DIR ...]

Writes small data sets in each convention, of 20 and of 100 photos, and looks at what the builder says: stopped
with the flags that read the boxes, stopped with these as an alternative, warned, or let pass. Right data sets
of many kinds, and data roots in the published format, have to pass.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build.annotations import Record, read_records
from scenarioclip_jax.data.build.box_votes import BoxFlags, decide
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from tests.data.box_data import as_written, write

_SIZES = ((320, 240), (240, 320), (320, 213), (213, 320), (300, 300), (320, 180))
_PLAIN = {"boxes": "xyxy", "box-units": "pixels", "box-canvas": "photo"}


def _sticking_out(rng: np.random.Generator, box: list[int], size: Any) -> list[int]:
    return [value + int(rng.integers(-7, 8)) for value in box]


def _dragged(rng: np.random.Generator, box: list[int], size: Any) -> list[int]:
    x, y = rng.permutation([box[0], box[2]]), rng.permutation([box[1], box[3]])
    return [int(x[0]), int(y[0]), int(x[1]), int(y[1])]


def _some_wrong(rng: np.random.Generator, box: list[int], size: Any) -> list[int]:
    """A typing mistake in one box of fifty."""
    if rng.random() < 0.02:
        box = list(box)
        box[rng.integers(4)] += int(rng.choice([-1, 1]) * rng.integers(50, 400))
    return box


RIGHT: dict[str, dict[str, Any]] = {
    "any": {},
    "things to see": {"drawn": True},
    "small boxes": {"largest": 0.1},
    "one box": {"objects": 1},
    "square photos": {"sizes": ((240, 240),)},
    "square photos, things to see": {"sizes": ((240, 240),), "drawn": True},
    "landscape": {"sizes": ((320, 240), (320, 180))},
    "large photos": {"sizes": ((1280, 960), (960, 1280))},
    "small photos": {"sizes": ((96, 64), (64, 96), (120, 72))},
    "sticking out": {"change": _sticking_out},
    "dragged": {"change": _dragged},
    "dragged, one box": {"change": _dragged, "objects": 1},
    "some wrong": {"change": _some_wrong},
    "rotated photos": {"orientation": [1, 2, 3, 6]},
    "rotated photos, things to see": {"orientation": [1, 2, 3, 6], "drawn": True},
    "focused regions": {"focus": True},
    "away from the edges": {"edge": 0.0, "largest": 0.4},
}
# Options of `write`, the share of records that are so, and the flags that read them.
OTHERS: dict[str, tuple[dict[str, Any], float, dict[str, str]]] = {
    f"{name}{' in ' + units if units != 'pixels' else ''}": (
        {"format": name, "units": units},
        1.0,
        {"boxes": name, "box-units": units},
    )
    for name, units in (
        ("xywh", "pixels"),
        ("cxcywh", "pixels"),
        ("yxyx", "pixels"),
        ("xyxy", "unit"),
        ("xyxy", "thousand"),
        ("yxyx", "unit"),
        ("yxyx", "thousand"),
        ("cxcywh", "unit"),
    )
}
OTHERS["yxyx in thousand, things to see"] = (
    {"format": "yxyx", "units": "thousand", "drawn": True},
    1.0,
    {"boxes": "yxyx", "box-units": "thousand"},
)
OTHERS["yxyx in thousand, focused regions"] = (
    {"format": "yxyx", "units": "thousand", "focus": True},
    1.0,
    {"boxes": "yxyx", "box-units": "thousand"},
)
for _format, _share in (
    ("yxyx", 0.15),
    ("yxyx", 0.3),
    ("yxyx", 0.45),
    ("xywh", 0.2),
    ("xywh", 0.5),
):
    OTHERS[f"{_share:.0%} {_format}"] = ({"format": _format}, _share, {"boxes": _format})
OTHERS["20% in unit"] = ({"units": "unit"}, 0.2, {"box-units": "unit"})
OTHERS["20% in thousand"] = ({"units": "thousand"}, 0.2, {"box-units": "thousand"})
for _format in ("xyxy", "xywh"):
    for _units in ("pixels", "unit", "thousand"):
        OTHERS[f"padded, {_format} in {_units}"] = (
            {"format": _format, "units": _units, "padded": "middle"},
            1.0,
            {"boxes": _format, "box-units": _units, "box-canvas": "padded"},
        )
for _units in ("unit", "thousand"):
    OTHERS[f"padded at a corner, xyxy in {_units}"] = (
        {"units": _units, "padded": "corner"},
        1.0,
        {"box-units": _units, "box-canvas": "padded_corner"},
    )


def outcome(root: Path, flags: dict[str, str]) -> str:
    """What the builder says of a data root whose boxes `flags` read."""
    problems = Problems()
    records = read_records(root, problems)
    try:
        decide(records, Folders(root).find, BoxFlags(), problems)
    except AnnotationError as error:
        named = [_PLAIN | dict(found) for found in _named(str(error))]
        wanted = _PLAIN | flags
        if named and named[0] == wanted:
            return "stopped, flag named"
        return "stopped, flag among others" if wanted in named else "stopped otherwise"
    return "warned" if problems.found else "passed"


def _named(text: str) -> list[list[tuple[str, str]]]:
    """The sets of flags in a message, in order."""
    runs = re.findall(r"(?:--(?:boxes|box-units|box-canvas)=\w+ ?)+", text)
    return [re.findall(r"--([\w-]+)=(\w+)", run) for run in runs]


def merged(root: Path, seed: int, photos: int, share: float, options: dict[str, Any]) -> None:
    """Writes a data root, `share` of whose records are of another convention."""
    if share == 1:
        write(root, seed, photos, **{"sizes": _SIZES, **options})
        return
    truth = write(root, seed, photos, sizes=_SIZES)
    records = read_records(root, Problems())
    rewrite(root, records, truth, max(2, round(share * photos)), options)


def rewrite(
    root: Path, records: Sequence[Record], truth: Sequence[Any], count: int, options: dict[str, Any]
) -> None:
    file = root / "metadata.json"
    data = json.loads(file.read_text())
    for record, boxes in list(zip(data["data"], truth, strict=True))[-count:]:
        with Image.open(root / record["image_path"]) as picture:
            for each, box in zip(record["objects"], boxes, strict=True):
                each[1] = as_written(box, picture.size, **options)
    file.write_text(json.dumps(data))


def tally(write_root: Callable[[Path, int], None], flags: dict[str, str], seeds: int) -> Counter:
    counts: Counter[str] = Counter()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            write_root(Path(folder) / "root", seed)
            counts[outcome(Path(folder) / "root", flags)] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--only", default="", help="kinds whose names hold this")
    parser.add_argument("--roots", nargs="*", default=[], help="data roots in the published format")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for root in args.roots:
        results[f"right: {Path(root).name}"] = {outcome(Path(root), {}): 1}
        print(root, results[f"right: {Path(root).name}"])
    for name, options in RIGHT.items():
        for photos in (5, 20):
            if args.only in name:

                def right(root, seed, photos=photos, options=options):
                    write(root, seed, photos, **{"sizes": _SIZES, **options})

                results[f"right: {name}, {photos}"] = tally(right, {}, args.seeds)
                print(
                    f"right: {name}, {photos}",
                    dict(results[f"right: {name}, {photos}"]),
                    flush=True,
                )
    for name, (options, share, flags) in OTHERS.items():
        for photos in (20, 100):
            if args.only in name:

                def other(root, seed, photos=photos, share=share, options=options):
                    merged(root, seed, photos, share, options)

                results[f"{name}, {photos}"] = tally(other, flags, args.seeds)
                print(f"{name}, {photos}", dict(results[f"{name}, {photos}"]), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
