"""Searches one's own photos.

    python -m scenarioclip_jax.search index --model runs/demo --photos ~/photos --output album
    python -m scenarioclip_jax.search query --index album --action "walking the dog" --page found.html
    python -m scenarioclip_jax.search query --index album --relation "man holding leash" --without-object car

`index` embeds every photo below a folder; again, it adds what is new, and forgets what is gone. With
`--boxes FILE`, a JSON object of lists of boxes [x0, y0, x1, y1] by the photos' paths below the folder, or with
`--detector MODEL --words WORDS`, which finds them, objects and relations can be found too. `query` ranks the
photos by everything that is asked; `--photo FILE` asks for photos like one, with `--box` for those with an
object like the one there, with two for a relation.
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
from scenarioclip_jax.shell import to_paste

LEVELS = {"action": "global", "object": "object", "relation": "relation"}  # by flag


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index", help="embed the photos below a folder")
    index.add_argument("--model", required=True, help="as for scenarioclip_jax.load")
    index.add_argument("--weights", default="student", choices=("student", "ema"), help="of a run")
    index.add_argument("--photos", type=Path, required=True, help="folder")
    index.add_argument("--output", type=Path, required=True, help="the index, a folder")
    index.add_argument("--boxes", type=Path, metavar="FILE", help="JSON: boxes by photo")
    index.add_argument("--detector", metavar="MODEL", help="finds boxes in the other photos")
    index.add_argument("--words", help="what it looks for: a data set, or a JSON file")
    index.add_argument("--threshold", type=float, default=0.25, help="least score of its boxes")
    index.add_argument("--pairs", type=int, default=30, help="most relations of a photo")
    index.add_argument("--batch-size", type=int, default=32, help="photos to embed at once")
    query = commands.add_parser("query", help="find photos in an index")
    query.add_argument("text", nargs="?", help="what to find, at the level where it fits best")
    query.add_argument("--index", type=Path, required=True, help="folder that `index` made")
    texts: dict[str, Any] = dict(action="append", default=[], metavar="TEXT")
    query.add_argument("--action", **texts, help="that photos should show")
    query.add_argument("--object", **texts, help="that photos should show")
    query.add_argument("--relation", **texts, help="that photos should show")
    query.add_argument("--without-action", **texts, help="that they shouldn't show")
    query.add_argument("--without-object", **texts, help="that they shouldn't show")
    query.add_argument("--without-relation", **texts, help="that they shouldn't show")
    query.add_argument("--photo", help="find photos like this one")
    query.add_argument("--box", type=_box, action="append", default=[], metavar="X0,Y0,X1,Y1")
    query.add_argument("--count", type=int, default=20, help="most photos")
    query.add_argument("--model", help="where the model is now, if it was moved")
    query.add_argument("--page", type=Path, metavar="FILE", help="HTML page to write")
    query.add_argument("--json", type=Path, metavar="FILE", help="file to write")
    return parser.parse_args(argv)


def _box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise argparse.ArgumentTypeError(f"{text!r}: it must be X0,Y0,X1,Y1 in pixels")
    return box


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(argv)
    try:
        (index if flags.command == "index" else query)(flags)
    except (ReadableError, OSError, ValueError) as error:
        sys.exit(f"search {flags.command}: {error}")


def index(flags: argparse.Namespace) -> None:
    from scenarioclip_jax.inference import load
    from scenarioclip_jax.lock import own
    from scenarioclip_jax.search.build import update
    from scenarioclip_jax.search.model import same_model
    from scenarioclip_jax.search.store import Store
    from scenarioclip_jax.search.vectors import open_vectors

    if not flags.photos.is_dir():
        raise ValueError(f"--photos={flags.photos}: no such folder")
    if flags.pairs < 0:
        raise ValueError(f"--pairs={flags.pairs}: must be at least 0")
    boxes = read_boxes(flags.boxes) if flags.boxes else {}
    finder = open_finder(flags) if flags.detector else None
    model = load(flags.model, weights=flags.weights, batch_size=flags.batch_size)
    with own(flags.output, f"--output={flags.output}"):
        store = Store(flags.output, make=True)
        same_model(store, model, f"{flags.model}")
        store.note(
            {
                "model": str(Path(flags.model).resolve())
                if Path(flags.model).exists()
                else flags.model,
                "weights": flags.weights,
                "photos": str(flags.photos.resolve()),
            }
        )
        done = update(store, model, flags.photos, boxes, flags.pairs, finder)
        counts, problems = store.counts(), store.problems()
        open_vectors(flags.output, store)
        store.close()
    say(f"{done.photos:,} photos, {done.embedded:,} of them new, {done.gone:,} gone")
    say("items: " + (", ".join(f"{level} {n:,}" for level, n in counts.items()) or "none"))
    left_out = [*problems, *done.unreadable]
    if left_out:
        say(f"{len(left_out):,} photos can't be found, because they couldn't be used:")
    for path, reason in left_out[:5]:
        say(f"  {path}: {reason}")
    if missing := [path for path in boxes if not (flags.photos / path).is_file()]:
        say(f"photos of {flags.boxes} that aren't there: {len(missing):,}, such as {min(missing)}")
    say(
        'next: python -m scenarioclip_jax.search query "…" '
        + to_paste("--index", flags.output, "--page", "found.html")
    )


def open_finder(flags: argparse.Namespace) -> Any:
    """Opens the detector that the flags ask for.

    Raises:
      ValueError: There are no words, or none for objects.
      ModelError: The detector can't be loaded.
    """
    from scenarioclip_jax.describe.detector import open_detector
    from scenarioclip_jax.describe.vocabulary import read_words
    from scenarioclip_jax.search.build import Finder

    if not flags.words or not (names := read_words(flags.words).objects):
        raise ValueError("--detector needs --words with names of objects to look for")
    told = f"{flags.detector} from {flags.threshold}"
    return Finder(told, open_detector(flags.detector, flags.threshold), names)


def read_boxes(path: Path) -> dict[str, list[list[float]]]:
    """Reads lists of boxes by the paths of photos.

    Raises:
      ValueError: The file can't be read, or has another form.
    """
    form = 'an object like {"a.jpg": [[x0, y0, x1, y1], …]}, photos by their paths below --photos'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"--boxes={path}: can't be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"--boxes={path}: expected {form}")
    for name, boxes in found.items():
        if not isinstance(boxes, list) or not all(
            isinstance(box, list)
            and len(box) == 4
            and all(isinstance(x, int | float) and not isinstance(x, bool) for x in box)
            for box in boxes
        ):
            raise ValueError(f"--boxes={path}: {name}: {str(boxes)[:80]}; expected {form}")
    return found


def query(flags: argparse.Namespace) -> None:
    from scenarioclip_jax.inference import load
    from scenarioclip_jax.search.model import same_model
    from scenarioclip_jax.search.page import write_page
    from scenarioclip_jax.search.query import Album

    if flags.count < 1:
        raise ValueError(f"--count={flags.count}: must be at least 1")
    if flags.box and not flags.photo:
        raise ValueError("--box is a place in a photo: give --photo")
    album = Album(flags.index)
    facts = album.store.facts()
    model = load(flags.model or facts["model"], weights=facts["weights"])
    same_model(album.store, model, flags.model or facts["model"])
    parts = [album.text(model, flags.text)] if flags.text else []
    for name, level in LEVELS.items():
        parts += [album.text(model, text, level) for text in getattr(flags, name)]
    if flags.photo:
        parts.append(album.picture(model, flags.photo, flags.box))
    for name, level in LEVELS.items():
        unwanted = getattr(flags, f"without_{name}")
        parts += [album.text(model, text, level, wanted=False) for text in unwanted]
    if not parts:
        raise ValueError("say what to find: a text, --action, --object, --relation or --photo")
    hits = album.search(parts, flags.count)
    for number, hit in enumerate(hits, 1):
        told = "  ".join(f"{match.part} {match.z:+.1f}" for match in hit.matches)
        say(f"{number:3}  {hit.score:6.2f}  {hit.paths[0]}  ({told})")
    if flags.json:
        write_text(flags.json, json.dumps([hit.as_json() for hit in hits], indent=1) + "\n")
    if flags.page:
        write_page(flags.page, Path(facts["photos"]), parts, hits)
        say(f"page: {flags.page}")
