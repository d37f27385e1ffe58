"""Builds a data set from annotations, on the command line or from Python.

python -m scenarioclip_jax.data.build --metadata DIR --output DIR
python -m scenarioclip_jax.data.build --embedded 2000 --output DIR    # no data needed
"""

import argparse
import contextlib
import fcntl
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scenarioclip_jax.data import embedded, images, shards
from scenarioclip_jax.data.annotations import metadata_files
from scenarioclip_jax.data.problems import DROPPED
from scenarioclip_jax.data.splits import FRACTIONS, SALT, SPLITS, check_fractions

EMBEDDED = Path("data/embedded")  # where the embedded scenes are built by default
VOCABULARY = 512  # tokens of the small tokenizer that comes with every data set
# Data sets whose summary doesn't say so were split by id alone: a photo of several scenes can be in several.
SPLIT_BY = "id, or pixels where scenes share a photo"
_UNFINISHED = ".unfinished-"  # folders of builds that were interrupted, removed by the next


def build(
    metadata_dir: str | Path,
    output_dir: str | Path,
    *,
    num_shards: int | None = None,
    strict: bool = False,
    fractions: Sequence[float] = FRACTIONS,
    overwrite: bool = False,
    max_megapixels: float = images.MAX_PIXELS / 1e6,
    progress: bool = True,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Builds the data set `output_dir`/action_genome/<version> and returns its summary.

    It appears when it is complete: an interrupted build leaves nothing that could be taken for one.

    Args:
      metadata_dir: the data root: metadata*.json, classes.json and the images.
      output_dir: where the data set goes; what `shards.open_split` takes as `data_dir`.
      num_shards: shards a split; None: one for each 64 MB to 1 GB.
      strict: raise at the first problem instead of repairing or leaving out.
      fractions: shares of train, validation and test.
      overwrite: replace a data set that is already there.
      max_megapixels: photos of more pixels are left out, as they may be decompression bombs.
      progress: show a progress bar.
      source: stored in the summary, to recognise what a data set was made from.
    Raises:
      AnnotationError: if nothing can be built, or at the first problem with `strict`.
      FileExistsError: if there is a data set already, or another process builds it.
    """
    fractions = check_fractions(fractions)
    if num_shards is not None and num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, got {num_shards}")
    if not max_megapixels > 0:
        raise ValueError(f"max_megapixels must be positive, got {max_megapixels}")
    metadata_files(Path(metadata_dir))  # fails at once if this is no data root
    output = Path(output_dir)
    with _lock(output, wait=False):
        if _exists(output) and not overwrite:
            raise FileExistsError(
                f"{shards.dataset_dir(output)} is a data set already. Name another --output, or replace it "
                "with --overwrite"
            )
        return _build_locked(
            Path(metadata_dir),
            output,
            num_shards,
            strict,
            fractions,
            progress,
            source,
            max_pixels=int(max_megapixels * 1e6),
        )


def ensure_embedded(
    data_dir: str | Path,
    num_scenes: int,
    seed: int,
    *,
    size: int = embedded.SIZE,
    num_shards: int | None = None,
    progress: bool = True,
) -> Path:
    """Returns `data_dir`, having built the embedded scenes there unless they are there already.

    A data set of other parameters, or of another version of the generator, is replaced; one that isn't
    made of embedded scenes never is. If another process is building, waits for it.

    Raises:
      FileExistsError: if `data_dir` holds another kind of data set.
    """
    output = Path(data_dir)
    source = {"embedded": embedded.embedded_params(num_scenes, seed, size)}
    if _source(output) == source:  # without the lock: it may lie on a read-only disk
        return output
    with _lock(output, wait=True):
        if _exists(output):
            found = _source(output)
            if found == source:  # another process has built it meanwhile
                return output
            if "embedded" not in found:
                raise FileExistsError(
                    f"{shards.dataset_dir(output)} isn't made of embedded scenes, so it isn't replaced by "
                    "them. Name another folder."
                )
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=output) as folder:
            annotations = Path(folder) / "embedded"
            print(f"drawing {num_scenes} scenes into {output} (once)", file=sys.stderr, flush=True)
            embedded.write_embedded(annotations, num_scenes, seed, size)
            _build_locked(annotations, output, num_shards, True, FRACTIONS, progress, source)
    return output


def default_embedded(num_scenes: int, seed: int) -> Path:
    """As `ensure_embedded`, below the working directory.

    Each set of parameters has a folder of its own: runs that differ in them don't replace each other's data.
    """
    return ensure_embedded(EMBEDDED / f"{num_scenes}-{seed}", num_scenes, seed)


def _source(output: Path) -> dict[str, Any]:
    return shards.load_summary(output)["source"] if _exists(output) else {}


def _exists(output: Path) -> bool:
    return (output / shards.NAME / shards.VERSION / "dataset_info.json").is_file()


@contextlib.contextmanager
def _lock(output: Path, *, wait: bool) -> Iterator[None]:
    """Holds the right to build in `output`; the system releases it whatever way the process ends."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / ".build.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise FileExistsError(f"another process is building in {output}; wait for it") from None
        target = output / shards.NAME / shards.VERSION
        for stale in output.glob(f"{_UNFINISHED}*"):
            if (stale / "replaced").is_dir() and not target.exists():
                (stale / "replaced").rename(target)  # a build that ended between its two renames
            shutil.rmtree(stale, ignore_errors=True)
        yield


def _build_locked(
    root: Path,
    output: Path,
    num_shards: int | None,
    strict: bool,
    fractions: Sequence[float],
    progress: bool,
    source: dict[str, Any] | None,
    *,
    max_pixels: int = images.MAX_PIXELS,
) -> dict[str, Any]:
    from scenarioclip_jax.data import action_genome  # TFDS: only for those who build
    from scenarioclip_jax.data.tokens import train_tokenizer

    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=output) as folder:
        builder = action_genome.ActionGenome(
            metadata_dir=root,
            fractions=fractions,
            strict=strict,
            max_pixels=max_pixels,
            progress=progress,
            data_dir=folder,
        )
        action_genome.prepare(builder, num_shards)
        finished = Path(folder) / shards.NAME / shards.VERSION
        summary = _summary(builder, fractions, source)
        _write_json(finished / "classes.json", builder.statistics.class_counts())
        _write_json(finished / "summary.json", summary)
        builder.problems.write(finished / "problems.jsonl")
        if builder.shared:
            _write_json(finished / "shared_photos.json", builder.shared)
        classes = shards.sort_classes(builder.statistics.class_counts())
        train_tokenizer(
            (text for kind in sorted(classes) for text in classes[kind]),
            finished / shards.TOKENIZER,
            vocab_size=VOCABULARY,
        )
        target = output / shards.NAME / shards.VERSION
        target.parent.mkdir(exist_ok=True)
        if target.exists():  # moved aside first: a data set is there as a whole or not at all
            target.rename(Path(folder) / "replaced")
        finished.rename(target)
    return summary


def _summary(
    builder: Any, fractions: Sequence[float], source: dict[str, Any] | None
) -> dict[str, Any]:
    statistics, problems = builder.statistics, builder.problems
    focus = {kind: statistics.focus[kind] for kind in ("boxes", "mask", "image")}
    return {
        "version": shards.VERSION,
        "source": source or {"metadata": str(builder.root)},
        "fractions": dict(zip(SPLITS, fractions, strict=True)),
        "salt": SALT,
        "split_by": SPLIT_BY,
        "shared_photos": {
            "photos": len(builder.shared),
            "scenes": sum(len(photo["ids"]) for photo in builder.shared),
        },
        "reencoded": dict(sorted(problems.reencoded.items())),
        "splits": {split: statistics.scenes[split] for split in SPLITS},
        "classes": {kind: len(counts) for kind, counts in statistics.labels.items()},
        "objects_per_scene": dict(sorted(statistics.objects.items())),
        "relations_per_scene": dict(sorted(statistics.relations.items())),
        "negatives": statistics.negatives,
        "focus": focus,
        "has_focus_images": focus["image"] > 0,
        "scenes_dropped": sum(p.what == "scene" and p.effect == DROPPED for p in problems.found),
        "problems": problems.counts(),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def format_summary(summary: dict[str, Any], folder: Path) -> str:
    """Returns the summary of a build as text for people."""

    def line(title: str, counts: dict[Any, int]) -> str:
        return f"  {title:<20}" + ", ".join(f"{value} {key}" for key, value in counts.items())

    def spread(title: str, counts: dict[int, int]) -> str:
        # A histogram as "mean (least to most)"
        pairs = Counter({int(number): scenes for number, scenes in counts.items()})
        mean = sum(number * scenes for number, scenes in pairs.items()) / pairs.total()
        return f"  {title:<20}{mean:.2f} on average, {min(pairs)} to {max(pairs)}"

    lines = [
        f"Built {folder}",
        line("scenes", summary["splits"]),
        line("classes", summary["classes"]),
        spread("objects a scene", summary["objects_per_scene"]),
        spread("relations a scene", summary["relations_per_scene"]),
        line("focused regions as", summary["focus"]),
        f"  {'negatives':<20}{summary['negatives']}",
        f"  {'scenes left out':<20}{summary['scenes_dropped']}",
    ]
    # (Data sets that were built before don't have these.)
    shared = summary.get("shared_photos", {"photos": 0, "scenes": 0})
    if shared["photos"]:
        listed = folder / "shared_photos.json"
        lines.append(
            f"  {'shared photos':<20}{shared['photos']}, shown by {shared['scenes']} scenes; each is in one "
            f"split ({listed})"
        )
    if reencoded := summary.get("reencoded"):
        lines.append(line("stored as JPEG", reencoded))
    if summary["problems"]:
        lines.append(f"  problems, listed in {folder / 'problems.jsonl'}:")
        lines += [f"    {count:>6}  {problem}" for problem, count in summary["problems"].items()]
    else:
        lines.append("  no problems")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--metadata", type=Path, help="folder of metadata*.json and the images")
    given.add_argument("--embedded", type=int, metavar="N", help="draw N embedded scenes instead")
    parser.add_argument("--output", type=Path, required=True, help="where the data set goes")
    parser.add_argument("--num-shards", type=int, help="shards a split (default: by size)")
    parser.add_argument("--strict", action="store_true", help="any problem is an error")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=images.MAX_PIXELS / 1e6,
        help="leave out photos with more pixels (default: %(default).0f)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    parser.add_argument(
        "--fractions",
        default=",".join(map(str, FRACTIONS)),
        help="shares of train, validation, test (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the embedded scenes")
    args = parser.parse_args(arguments)
    try:
        if args.embedded is not None:
            ensure_embedded(args.output, args.embedded, args.seed, num_shards=args.num_shards)
            summary = shards.load_summary(args.output)
        else:
            summary = build(
                args.metadata,
                args.output,
                num_shards=args.num_shards,
                strict=args.strict,
                fractions=[float(share) for share in args.fractions.split(",")],
                overwrite=args.overwrite,
                max_megapixels=args.max_megapixels,
            )
    except (ValueError, OSError) as error:  # AnnotationError is a ValueError
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_summary(summary, shards.dataset_dir(args.output)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
