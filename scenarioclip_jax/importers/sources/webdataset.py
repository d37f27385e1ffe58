"""WebDataset: photos and their texts in tar archives.

A sample is what lies together and has one name up to the first dot of the last part of the path:
`a/0001.jpg`, `a/0001.txt`, `a/0001.json`. Archives are read as streams, and photos are written to the
output's folder `photos`, since the build reads files.
"""

import argparse
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, NOTED
from scenarioclip_jax.importers import texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.output import PHOTOS
from scenarioclip_jax.importers.published import add_published
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

_PHOTOS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
_TEXTS = ("txt", "caption", "text")
_CAPTIONS = ("caption", "text", "captions", "dense_caption")  # keys of a sample's JSON
_OURS = ("action", "objects", "relations", "width", "height", "split", "group")
_LARGEST = 1 << 30  # bytes of a member; larger ones are videos and the like

Sample = dict[str, bytes]  # content by extension


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tars", nargs="+", required=True, metavar="FILE", help="archives, or folders of *.tar"
    )
    parser.add_argument(
        "--caption-key",
        action="append",
        default=[],
        metavar="KEY",
        help="another key of a sample's JSON that holds a caption, besides "
        f"{', '.join(_CAPTIONS)}; may be given several times",
    )


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    if run.images:
        raise SourceError(
            "--images means nothing here: the photos are in the archives; leave it out"
        )
    paths: list[Path] = []
    for given in map(local_copy, args.tars):
        inside = sorted(path for path in given.rglob("*.tar*")) if given.is_dir() else [given]
        if not inside:
            raise SourceError(f"--tars {given} is a folder without *.tar; name the archives")
        paths += inside
    with run.index() as seen:
        for path in paths:
            run.files.append(str(path))
            for key, sample in run.progress(_samples(path, run, seen), path.name, "samples"):
                where = f"{path.name} {key}"
                if record := run.attempt(where, _record, args, run, path, key, sample, where):
                    yield record


def _samples(path: Path, run: Run, seen: Index) -> Iterator[tuple[str, Sample]]:
    """Yields (key, sample), without those whose key was there before."""
    key, sample, lost = "", {}, False
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name, _, extension = PurePosixPath(member.name).name.partition(".")
                if not member.isfile() or not extension or not name:
                    continue
                this = str(PurePosixPath(member.name).with_name(name))
                if this != key:
                    if sample and not lost:
                        yield key, sample
                    key, sample, lost = this, {}, bool(seen.get("key", this))
                    if lost:
                        detail = "was there before: a duplicate, or its members don't lie together"
                        run.problems.add(
                            "repeated_key", DROPPED, "scene", path.name, f"{key} {detail}", key
                        )
                    seen.add("key", this, 0)
                if lost:
                    continue
                extension = extension.lower()
                if member.size > _LARGEST or extension in sample:
                    reason = "large_member" if member.size > _LARGEST else "repeated_member"
                    run.problems.add(reason, DROPPED, "file", path.name, member.name, key)
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    sample[extension] = content.read()
        if sample and not lost:
            yield key, sample
    except FileNotFoundError as error:
        raise SourceError(f"--tars {path}: there is no such file; check the path") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename and str(error.filename) != str(path):
            raise  # a photo can't be written
        raise SourceError(
            f"{path} isn't a tar archive, or is cut short ({error}); download it again"
        ) from error


def _record(
    args: argparse.Namespace, run: Run, path: Path, key: str, sample: Sample, where: str
) -> Record | None:
    photo = next((extension for extension in _PHOTOS if extension in sample), None)
    if photo is None:
        detail = f"{key} has {', '.join(sample)}, none of which is a photo"
        run.problems.add("no_photo", DROPPED, "scene", path.name, detail, key)
        return None
    parts = PurePosixPath(key).parts
    if PurePosixPath(key).is_absolute() or ".." in parts:
        run.problems.add(
            "unsafe_name", DROPPED, "scene", path.name, f"{key} leads out of the folder", key
        )
        return None
    entry: dict[str, Any] = {}
    if "json" in sample:
        entry = json.loads(sample["json"])
        if not isinstance(entry, dict):
            raise ValueError(f"its JSON is {type(entry).__name__} instead of an object")
    size = (entry.get("width"), entry.get("height")) if entry.get("objects") else (None, None)
    image = f"{PHOTOS}/{key}.{photo}"
    draft = Draft(
        *(run.problems, key, image, where),
        size=(int(size[0]), int(size[1])) if size[0] and size[1] else None,
        action=texts.clean(entry.get("action")),
        split=run.split or entry.get("split") or run.split_of(path),
        group=entry.get("group"),
        source=f"WebDataset {path.name}",
    )
    for extension in sample:
        if extension in _TEXTS:
            draft.add_captions([sample[extension].decode("utf-8", "replace")])
        elif extension not in (photo, "json"):
            draft.problem("member_left_out", NOTED, "file", f"{extension} of {key}")
    known = (*_CAPTIONS, *args.caption_key)
    for name in (n for n in known if n != "dense_caption"):
        value = entry.pop(name, None)
        draft.add_captions(value if isinstance(value, list) else [value])
    add_published(draft, entry)
    if left := sorted(entry.keys() - {*_OURS, "dense_caption"}):
        draft.problem("fields_left_out", NOTED, "file", f"of its JSON: {', '.join(left)[:200]}")
    record = draft.finish()
    if record:
        target = run.work / image
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sample[photo])
    return record


SOURCE = Source("webdataset", "WebDataset: photos and texts in tar archives", _add_flags, _records)
