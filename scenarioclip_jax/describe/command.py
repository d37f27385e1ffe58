"""Describes a photo: its action, the names of the objects in given boxes, and their relations.

    python -m scenarioclip_jax.describe --model runs/demo --words data/embedded/6000-0 --photo photo.jpg \\
        --box 10,20,210,400 --box 200,80,480,470 --picture scene.png

Words are the classes of a data set, by default that of the run, or a JSON file {"actions": [], "objects": [],
"predicates": []}. Boxes are in pixels of the upright photo; `--boxes FILE` reads a JSON list of them, or,
where names are known, of {"box": [x0, y0, x1, y1], "name": "dog"}. `--detector
IDEA-Research/grounding-dino-tiny` finds boxes (extra `annotate`). Prints what was found with scores;
`--json FILE` keeps it, `--picture FILE` draws it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text


class BoxesError(ReadableError, ValueError):
    """The boxes can't be read."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.describe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="a run's workdir, a converted or exported model, or CLIP")
    add("--weights", default="student", choices=("student", "ema"), help="of a run")
    add("--photo", required=True, help="image file")
    add(
        "--words", help="data set, or JSON file with lists of words (default: a run's own data set)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--box", type=box_of, action="append", metavar="X0,Y0,X1,Y1", help="one for each object"
    )
    where.add_argument("--boxes", type=Path, metavar="FILE", help="JSON list of boxes")
    where.add_argument(
        "--detector", metavar="MODEL", help="finds boxes: Grounding DINO, OWL and others"
    )
    where.add_argument("--grid", type=int, metavar="N", help="N x N equal boxes")
    add("--threshold", type=float, default=0.25, help="least score of a detector's box")
    add("--relations", type=int, default=20, help="most relations")
    add("--all-predicates", action="store_true", help="several relations for a pair")
    add("--picture", type=Path, metavar="FILE", help="picture to write (.png, .jpg)")
    add("--json", type=Path, metavar="FILE", help="file to write")
    return parser.parse_args(join_boxes(sys.argv[1:] if argv is None else argv))


def join_boxes(argv: Sequence[str]) -> list[str]:
    """Joins `--box -5,0,9,9` to `--box=-5,0,9,9`, which isn't taken for a flag."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--box":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def box_of(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be X0,Y0,X1,Y1 in pixels")
    return box


def read_boxes(path: Path) -> tuple[list[Any], list[str] | None]:
    """Returns boxes and their names; None if the file has no names.

    Raises:
      BoxesError: The file can't be read, or has another form.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BoxesError(f"{path}: can't be read as JSON ({error})") from None
    form = 'a list of [x0, y0, x1, y1], or of {"box": [x0, y0, x1, y1], "name": "dog"}'
    if not isinstance(entries, list) or not entries:
        raise BoxesError(f"{path}: expected {form}")
    if not any(isinstance(entry, dict) for entry in entries):
        return entries, None
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or "box" not in entry:
            raise BoxesError(f"{path}: entry {number} has no box; expected {form}")
    named = ["name" in entry for entry in entries]
    if any(named) and not all(named):
        raise BoxesError(
            f"{path}: entry {named.index(False)} has no name and others have; give a name for each, or for none"
        )
    return [e["box"] for e in entries], [e["name"] for e in entries] if all(named) else None


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(argv)
    # These are slow to import.
    from scenarioclip_jax.describe.boxes import grid
    from scenarioclip_jax.describe.detector import open_detector
    from scenarioclip_jax.describe.own_words import own_words
    from scenarioclip_jax.describe.picture import check_suffix
    from scenarioclip_jax.loading import load

    try:
        if flags.picture:
            check_suffix(flags.picture)
        for path in (flags.picture, flags.json):
            if path and path.is_dir():
                raise ValueError(f"{path} is a folder; name a file in it")
        words = flags.words or own_words(flags.model)
        if words is None:
            raise ValueError(
                f"--model={flags.model}: names no data set that is here, so give --words"
            )
        detector = grid(flags.grid) if flags.grid is not None else None
        if flags.detector:
            detector = open_detector(flags.detector, flags.threshold)
        boxes, names = read_boxes(flags.boxes) if flags.boxes else (flags.box or [], None)
        graph = load(flags.model, weights=flags.weights).describe(
            flags.photo,
            boxes,
            words=words,
            names=names,
            detector=detector,
            relations=flags.relations,
            one_per_pair=not flags.all_predicates,
        )
        say(str(graph))
        if flags.json:
            write_text(flags.json, graph.to_json(indent=1) + "\n")
        if flags.picture:
            graph.draw(flags.picture)
    except (ReadableError, OSError, ValueError) as error:
        sys.exit(f"describe: {error}")
