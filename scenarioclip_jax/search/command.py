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
from scenarioclip_jax.describe.command import box_of, join_boxes
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.json_values import is_number
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
    index.add_argument("--step", type=int, help="of a run (default: the newest)")
    index.add_argument("--photos", type=Path, required=True, help="folder")
    index.add_argument("--output", type=Path, required=True, help="the index, a folder")
    index.add_argument("--boxes", type=Path, metavar="FILE", help="JSON: boxes by photo")
    index.add_argument("--detector", metavar="MODEL", help="finds boxes in the other photos")
    index.add_argument("--words", help="what it looks for: a data set, or a JSON file")
    index.add_argument("--threshold", type=float, default=0.25, help="least score of its boxes")
    index.add_argument("--forget-boxes", action="store_true", help="forget objects and relations")
    index.add_argument("--pairs", type=int, default=30, help="most relations of a photo")
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
    query.add_argument("--box", type=box_of, action="append", default=[], metavar="X0,Y0,X1,Y1")
    query.add_argument("--count", type=int, default=20, help="most photos")
    query.add_argument("--model", help="where the model is now, if it was moved or converted")
    query.add_argument(
        "--weights", default="student", choices=("student", "ema"), help="of --model"
    )
    query.add_argument("--step", type=int, help="of --model")
    query.add_argument("--page", type=Path, metavar="FILE", help="HTML page to write")
    query.add_argument("--json", type=Path, metavar="FILE", help="file to write")
    return parser.parse_args(join_boxes(sys.argv[1:] if argv is None else argv))


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(argv)
    try:
        (index if flags.command == "index" else query)(flags)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on", error=True)
        sys.exit(130)
    except (ReadableError, OSError, ValueError) as error:
        sys.exit(f"search {flags.command}: {error}")


def index(flags: argparse.Namespace) -> None:
    from scenarioclip_jax.command import ConfigError
    from scenarioclip_jax.loading import load
    from scenarioclip_jax.lock import own
    from scenarioclip_jax.search.vectors import check_faiss

    check_faiss()  # before anything slow
    if not flags.photos.is_dir():
        raise ValueError(f"--photos={flags.photos}: no such folder")
    if flags.pairs < 0:
        raise ValueError(f"--pairs={flags.pairs}: must be at least 0")
    if flags.words and not flags.detector:
        raise ValueError("--words is what a detector looks for: give --detector")
    boxes = read_boxes(flags.boxes) if flags.boxes else {}
    finder = open_finder(flags) if flags.detector else None
    model = load(flags.model, weights=flags.weights, step=flags.step)
    flags.output.mkdir(parents=True, exist_ok=True)
    try:
        with own(flags.output):
            _update(flags, model, boxes, finder)
    except ConfigError:
        raise ValueError(
            f"--output={flags.output}: another process writes there; wait for its end"
        ) from None


def _update(flags: argparse.Namespace, model: Any, boxes: Any, finder: Any) -> None:
    """Brings the index up to date, and tells what was done."""
    from scenarioclip_jax.search.build import update
    from scenarioclip_jax.search.model import same_model
    from scenarioclip_jax.search.store import Store
    from scenarioclip_jax.search.vectors import open_vectors, sweep

    store = Store(flags.output, make=True)
    try:
        same_model(store, model, flags.model)
        store.note(_facts(flags, store.facts()))
        done = update(store, model, flags.photos, boxes, flags.pairs, finder)
        counts, problems = store.counts(), store.problems()
        state, _ = open_vectors(flags.output, store)
        sweep(flags.output, state)
    finally:
        store.close()
    say(f"{done.photos:,} photos, {done.embedded:,} of them new, {done.gone:,} gone")
    say("items: " + (", ".join(f"{level} {n:,}" for level, n in counts.items()) or "none"))
    if left_out := [*problems, *done.left_out]:
        say(f"{len(left_out):,} of them couldn't be used, or not wholly:")
    for path, reason in left_out:
        say(f"  {ascii(path)[1:-1] if not path.isprintable() else path}: {reason}")
    if done.unmatched:
        say(
            f"photos of {flags.boxes} that aren't there: {len(done.unmatched):,}, such as {done.unmatched[0]}"
        )
    say(
        'next: python -m scenarioclip_jax.search query "…" '
        + to_paste("--index", flags.output, "--page", "found.html")
    )


def _facts(flags: argparse.Namespace, known: dict[str, str]) -> dict[str, str]:
    """What the index is made of now.

    Raises:
      ValueError: It holds photos of another folder, or its boxes would be forgotten.
    """
    photos = str(flags.photos.resolve())
    if known.get("photos", photos) != photos:
        raise ValueError(
            f"--photos={flags.photos}: {flags.output} is the index of {known['photos']}; give that folder, or "
            "another --output"
        )
    places = "--boxes" if flags.boxes else "--detector" if flags.detector else ""
    if known.get("places") and not places and not flags.forget_boxes:
        raise ValueError(
            f"{flags.output} has objects and relations, made with {known['places']}: give it again to keep "
            "them, or --forget-boxes to forget them"
        )
    there = Path(flags.model).exists()
    return {
        "model": str(Path(flags.model).resolve()) if there else flags.model,
        "weights": flags.weights,
        "step": "" if flags.step is None else str(flags.step),
        "photos": photos,
        "places": places,
    }


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
            isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) for box in boxes
        ):
            raise ValueError(f"--boxes={path}: {name}: {str(boxes)[:80]}; expected {form}")
    return found


def _open_model(flags: argparse.Namespace, facts: dict[str, str]) -> Any:
    """The model of an index, or where the flags say that it is."""
    from scenarioclip_jax.checkpoint import CheckpointError
    from scenarioclip_jax.loading import load

    if flags.model:
        return load(flags.model, weights=flags.weights, step=flags.step)
    step = int(facts["step"]) if facts.get("step") else None
    try:
        return load(facts["model"], weights=facts["weights"], step=step)
    except CheckpointError as error:
        raise ValueError(f"{error}. If the model was moved, give --model") from None


def query(flags: argparse.Namespace) -> None:
    from scenarioclip_jax.search.model import same_model
    from scenarioclip_jax.search.page import write_page
    from scenarioclip_jax.search.query import Album

    if flags.count < 1:
        raise ValueError(f"--count={flags.count}: must be at least 1")
    if flags.box and not flags.photo:
        raise ValueError("--box is a place in a photo: give --photo")
    for path in (flags.page, flags.json):
        if path and path.is_dir():
            raise ValueError(f"{path} is a folder; name a file in it")
    album = Album(flags.index)
    facts = album.store.facts()
    model = _open_model(flags, facts)
    same_model(album.store, model, flags.model or facts["model"])
    parts = [] if flags.text is None else [album.text(model, flags.text)]
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
