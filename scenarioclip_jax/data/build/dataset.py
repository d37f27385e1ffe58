"""Builds a data set from annotations, or from drawn scenes."""

import contextlib
import fcntl
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarioclip_jax.console import say
from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import in_bucket
from scenarioclip_jax.data.build.annotations import metadata_files
from scenarioclip_jax.data.build.box_formats import CANVASES, FORMATS, ORIENTATIONS, UNITS
from scenarioclip_jax.data.build.box_votes import BoxFlags
from scenarioclip_jax.data.build.options import Options
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.pool import Pool, local_pool, processes
from scenarioclip_jax.data.build.problems import DROPPED, AnnotationError
from scenarioclip_jax.data.embedded import write as embedded
from scenarioclip_jax.data.stored import labels, shards
from scenarioclip_jax.data.stored.splits import FRACTIONS, SALT, SPLITS, check_fractions
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import full_disk_named
from scenarioclip_jax.paths import address_of, local_path
from scenarioclip_jax.stop_signals import Stopped
from scenarioclip_jax.storage.bucket import check_address
from scenarioclip_jax.storage.cache import local_copy
from scenarioclip_jax.storage.output import spool

if TYPE_CHECKING:
    from scenarioclip_jax.data.build.make import Made

EMBEDDED = Path("data/embedded")  # where the embedded scenes are built by default
VOCABULARY = 512  # tokens of the small tokenizer that comes with every data set
# Data sets whose summary doesn't say so were split by id alone: a photo of several scenes can be in several.
SPLIT_BY = "record, else group, else pixels where scenes share a photo, else id"
_UNFINISHED = ".unfinished-"  # folders of builds that were interrupted, removed by the next
KEPT = ".unfinished_chunks-"  # what an interrupted build has done, for the same build


def build(
    metadata_dir: str | Path,
    output_dir: str | Path,
    *,
    num_shards: int | None = None,
    strict: bool = False,
    fractions: Sequence[float] = FRACTIONS,
    validation_share: float = 0.0,
    overwrite: bool = False,
    max_megapixels: float = images.MAX_PIXELS / 1e6,
    max_side: int | None = None,
    keep_metadata: bool = False,
    progress: bool = True,
    source: dict[str, Any] | None = None,
    image_dirs: Sequence[str | Path] = (),
    follow_links: bool = False,
    skip_broken: bool = False,
    boxes: str | None = None,
    box_units: str | None = None,
    box_orientation: str | None = None,
    box_canvas: str | None = None,
    workers: int | None = 1,
    beam: Sequence[str] | None = None,
    before_visible: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Builds the data set `output_dir`/action_genome/<version> and returns its summary.

    It appears only when complete: an interrupted build leaves nothing that could be mistaken for a data set.
    What it has done is kept beside it, in a hidden folder from which the same build goes on.

    Args:
      metadata_dir: The data root, with metadata*.json, classes.json and the images; an address is copied first.
      output_dir: Folder for the data set, which `shards.open_split` takes as `data_dir`. For an address, it is
        built in the cache and then copied there.
      num_shards: Shards per split; None for one for each 64 MB to 1 GB.
      strict: Whether to raise at the first problem instead of repairing, guessing or leaving out.
      fractions: Shares of train, validation and test.
      validation_share: Share of the training split that becomes validation, also of photos whose records name
        the training split: for data sets that have no official validation split.
      overwrite: Whether to replace an existing data set.
      max_megapixels: Photos with more pixels are left out, as they may be decompression bombs.
      max_side: Longest side of stored photos in pixels; larger ones are made smaller. None keeps their size.
      keep_metadata: Whether metadata of photos are stored, such as the place where they were taken.
      progress: Whether to show a progress bar.
      source: Stored in the summary, to recognize what a data set was made from.
      image_dirs: Folders of images besides the data root.
      follow_links: Whether symbolic links may lead out of these folders.
      skip_broken: Whether to read the intact parts of metadata files that can't be parsed, instead of stopping.
      boxes: Meaning of the four numbers of a box, one of `box_formats.FORMATS`; None to find out, with an error
        if it isn't the published [x0, y0, x1, y1].
      box_units: Unit of the numbers, one of `box_formats.UNITS`; None to find out likewise.
      box_orientation: Whether boxes of EXIF-rotated photos are in pixels of the photo "upright" or as "stored";
        None to find out likewise.
      box_canvas: The image that boxes refer to, one of `box_formats.CANVASES`: the photo, or the photo padded
        to a square; None to find out likewise, or for the photo if `boxes` and `box_units` are given.
      workers: Number of processes; None for one for each core.
      beam: Flags of Apache Beam, such as `["--runner=FlinkRunner"]`, whose workers then build, see
        `data.build.beam`.
      before_visible: Called once all is written, right before the data set appears, see `Stopping.finish`.

    Raises:
      AnnotationError: Nothing can be built, the boxes have another convention, or `strict` met a problem.
      FileExistsError: There is a data set already, or another process is building it.
      StorageError: An address can't be read or written. What was built is kept for the same call.
    """
    fractions = check_fractions(fractions)
    _check_at_least_one(num_shards=num_shards, workers=workers, max_side=max_side)
    if not 0 <= validation_share < 1:
        raise ValueError(f"validation_share must be at least 0 and below 1, got {validation_share}")
    if not max_megapixels > 0:
        raise ValueError(f"max_megapixels must be positive, got {max_megapixels}")
    flags = BoxFlags(boxes, box_units, box_orientation, box_canvas)
    _check_boxes(flags)
    for path in (metadata_dir, *image_dirs):
        check_address(path)
    address = in_bucket.check(output_dir, overwrite)
    if beam is not None:
        _check_no_addresses(metadata_dir, output_dir, *image_dirs)
    output = local_path(output_dir) if address is None else spool(address)
    root = local_copy(metadata_dir)
    others = [local_copy(folder) for folder in image_dirs]
    if beam is not None:  # workers run in other folders
        root, output, *others = (path.absolute() for path in (root, output, *others))
    metadata_files(root)  # fails at once if this isn't a data root
    for folder in others:
        if not folder.is_dir():
            raise AnnotationError(f"--images {folder} isn't a folder")
    with _lock(output, wait=False):
        if address is None and _exists(output) and not overwrite:
            raise FileExistsError(
                f"{shards.dataset_dir(output)} is a data set already. Name another --output, or replace it "
                "with --overwrite"
            )
        options = Options(
            root=root,
            folders=Folders(root, others, follow_links=follow_links),
            boxes=flags,
            max_pixels=int(max_megapixels * 1e6),
            max_side=max_side,
            keep_metadata=keep_metadata,
            skip_broken=skip_broken,
            strict=strict,
            fractions=fractions,
            validation_share=validation_share,
        )
        pool = _pool(output, workers, beam)
        source = source or {"metadata": str(address_of(metadata_dir) or root)}
        if address is None:
            return _build_locked(
                options, output, source, num_shards, pool, progress, before_visible
            )
        request = [options.digest(), fractions, validation_share, num_shards, source]
        if not in_bucket.is_made(output, request):
            _build_locked(options, output, source, num_shards, pool, progress, lambda: None)
            in_bucket.note_made(output, request)
        return in_bucket.publish(output, address, before_visible)


def _check_at_least_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def _check_boxes(flags: BoxFlags) -> None:
    for name, value, known in (
        ("boxes", flags.format, FORMATS),
        ("box_units", flags.units, UNITS),
        ("box_orientation", flags.orientation, ORIENTATIONS),
        ("box_canvas", flags.canvas, CANVASES),
    ):
        if value is not None and value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def _check_no_addresses(*paths: str | Path) -> None:
    for path in filter(address_of, paths):
        raise ValueError(
            f"{path}: workers of Apache Beam need paths that all of them see, not addresses; mount the "
            "bucket (gcsfuse) and give the local path"
        )


def ensure_embedded(
    data_dir: str | Path,
    num_scenes: int,
    seed: int,
    *,
    size: int = embedded.SIZE,
    tier: str = "plain",
    num_shards: int | None = None,
    progress: bool = True,
    before_visible: Callable[[], None] = lambda: None,
) -> Path:
    """Returns `data_dir`, after building the embedded scenes there unless they already exist.

    A data set with other parameters, or from another version of the generator, is replaced; one that isn't made
    of embedded scenes never is. If another process is building, this waits for it.

    Raises:
      FileExistsError: `data_dir` holds another kind of data set.
      ValueError: Such scenes can't be drawn.
    """
    embedded.check_params(num_scenes, size, tier)
    output = local_path(data_dir)
    source = {"embedded": embedded.embedded_params(num_scenes, seed, size, tier)}
    if _source(output) == source:  # without the lock, since the disk may be read-only
        return output
    with _lock(output, wait=True):
        if _exists(output):
            found = _source(output)
            if found == source:  # another process has built it in the meantime
                return output
            if "embedded" not in found:
                raise FileExistsError(
                    f"{shards.dataset_dir(output)} isn't made of embedded scenes, so it isn't replaced by "
                    "them. Name another folder."
                )
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=output) as folder:
            annotations = Path(folder) / "embedded"
            say(f"drawing {num_scenes} scenes into {output} (once)", error=True)
            embedded.write_embedded(annotations, num_scenes, seed, size, tier)
            options = Options(annotations, Folders(annotations), strict=True)
            _build_locked(
                options,
                output,
                source,
                num_shards,
                local_pool(1),
                progress,
                before_visible,
                keep=False,
            )
    return output


def default_embedded(num_scenes: int, seed: int, tier: str = "plain") -> Path:
    """Calls `ensure_embedded` with a folder below the working directory.

    Each set of parameters has its own folder, so that runs that differ in them don't replace each other's data.
    """
    folder = f"{num_scenes}-{seed}" + (f"-{tier}" if tier != "plain" else "")
    return ensure_embedded(EMBEDDED / folder, num_scenes, seed, tier=tier)


def _source(output: Path) -> dict[str, Any]:
    return shards.load_summary(output)["source"] if _exists(output) else {}


def _exists(output: Path) -> bool:
    return shards.find_dataset(output) is not None


@contextlib.contextmanager
def _lock(output: Path, *, wait: bool) -> Iterator[None]:
    """Holds the right to build in `output`; the system releases it when the process ends, however it ends."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / ".build.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise FileExistsError(f"another process is building in {output}; wait for it") from None
        for stale in output.glob(f"{_UNFINISHED}*"):
            for replaced in (stale / "replaced").glob("*"):
                if shards.find_dataset(output) is None:  # that build ended between its two renames
                    replaced.rename(output / shards.NAME / replaced.name)
            shutil.rmtree(stale, ignore_errors=True)
        yield


def _pool(output: Path, workers: int | None, beam: Sequence[str] | None) -> Pool:
    if beam is None:
        return local_pool(processes(workers))
    from scenarioclip_jax.data.build.beam import BeamPool  # an extra, and slow to import

    return BeamPool(beam, output / f"{_UNFINISHED}beam")


def _build_locked(
    options: Options,
    output: Path,
    source: dict[str, Any],
    num_shards: int | None,
    pool: Pool,
    progress: bool,
    before_visible: Callable[[], None],
    *,
    keep: bool = True,
) -> dict[str, Any]:
    """Builds with the lock held; `keep`: an interrupted build keeps what it has done."""
    from scenarioclip_jax.data.build.make import make  # imports TFDS, which takes half a second
    from scenarioclip_jax.data.tokens import train_tokenizer

    with (
        _chunks(output, options.digest(), keep) as chunks,
        tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=output) as folder,
    ):
        finished = Path(folder) / shards.NAME / shards.VERSION
        finished.mkdir(parents=True)
        with full_disk_named(output):
            made = make(options, chunks, finished, num_shards, pool, progress)
        counts = made.statistics.class_counts()
        summary = _summary(made, options, source, counts)
        # By these a run knows the data set that it was trained on, even if another is built in its place.
        summary["digests"] = {split: shards.split_digest(finished, split) for split in SPLITS}
        _write_json(finished / "classes.json", counts)
        _write_json(finished / "summary.json", summary)
        if made.shared:
            _write_json(finished / "shared_photos.json", made.shared)
        classes = shards.sort_classes(counts)
        train_tokenizer(
            [
                *(text for kind in sorted(classes) for text in classes[kind]),
                *made.statistics.some_captions,
            ],
            finished / shards.TOKENIZER,
            vocab_size=VOCABULARY,
        )
        target = output / shards.NAME / shards.VERSION
        target.parent.mkdir(exist_ok=True)
        before_visible()
        _put(finished, target, shards.find_dataset(output), Path(folder) / "replaced")
    return summary


@contextlib.contextmanager
def _chunks(output: Path, digest: str, keep: bool) -> Iterator[Path]:
    """Yields the folder for finished chunks. It stays if the build is interrupted, for the same build only."""
    folder = output / f"{KEPT}{digest}"
    for other in output.glob(f"{KEPT}*"):
        if other != folder or not keep:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    except (Stopped, KeyboardInterrupt, OSError, ReadableError) as error:
        # Other annotations or other flags make other chunks.
        if not keep or isinstance(error, AnnotationError):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _put(finished: Path, target: Path, old: Path | None, replaced: Path) -> None:
    """Moves a finished data set to its place; one that is there already goes to `replaced` first, or stays.

    So a data set is there as a whole or not at all. `replaced` is removed with the folder of the build, so the
    old data set has to be back before that if the new one doesn't take its place.
    """
    replaced.mkdir()
    try:
        if old:
            old.rename(replaced / old.name)
        finished.rename(target)
    except BaseException:  # KeyboardInterrupt, too
        if old and not old.exists() and (replaced / old.name).exists():
            (replaced / old.name).rename(old)
        raise


def _summary(
    made: "Made",
    options: Options,
    source: dict[str, Any],
    classes: dict[str, dict[str, dict[str, int]]],
) -> dict[str, Any]:
    statistics, problems = made.statistics, made.problems
    focus = {kind: made.focus[kind] for kind in ("boxes", "mask", "image")}
    return {
        "version": shards.VERSION,
        "source": source,
        "fractions": dict(zip(SPLITS, options.fractions, strict=True)),
        "validation_share": options.validation_share,
        "salt": SALT,
        "split_by": SPLIT_BY,
        "shared_photos": {
            "photos": len(made.shared),
            "scenes": sum(len(photo["ids"]) for photo in made.shared),
        },
        "reencoded": dict(sorted(problems.reencoded.items())),
        "splits": {split: statistics.scenes[split] for split in SPLITS},
        "classes": {kind: len(texts) for kind, texts in classes.items()},
        "objects_per_scene": dict(sorted(statistics.objects.items())),
        "relations_per_scene": dict(sorted(statistics.relations.items())),
        "texts": {kind: statistics.texts[kind] for kind in ("action", "captions", "neither")},
        "captions": statistics.captions,
        "negatives": statistics.negatives,
        "object_masks": statistics.masks,
        "focus": focus,
        "focus_styles": dict(sorted(problems.focus_styles.items())),
        "focus_unnamed": problems.unnamed_focus,
        "boxes": made.boxes.reading._asdict(),
        "labels": labels.VERSION,
        "has_focus_images": focus["image"] > 0,
        "scenes_dropped": problems.number("", "scene", DROPPED),
        "problems": problems.counts(),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
