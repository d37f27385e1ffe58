"""What the pipeline of ScenarioCLIP's authors writes: its three folders of results, or the combined metadata.

A photo has an answer of a language model (`gemma_jsons`), boxes of a detector (`dino_results`), and masks and
focused regions (`sam_results`). Relations name their participants; they are those of the nearest pair of
boxes with these names, as in the authors' pipeline, so that indices and focused regions agree.
"""

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax import faults
from scenarioclip_jax.data.build.problems import DROPPED, KEPT, NOTED
from scenarioclip_jax.importers import boxes, json_stream, masks, metadata, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.published import (
    add_named_relation,
    add_published,
    negatives_of,
    triplet_of,
)
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.paths import as_given
from scenarioclip_jax.storage.cache import local_copy

_ANSWER, _BOXES, _MASKS = "_gemma.json", "_grounding_dino.json", "_grounding_sam.npz"


def _add_flags(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "--results", metavar="DIR", help="folder of gemma_jsons, dino_results and sam_results"
    )
    given.add_argument("--metadata", metavar="DIR", help="folder of the combined metadata*.json")
    parser.add_argument("--without-masks", action="store_true", help="boxes only")
    parser.add_argument(
        "--frames",
        action="store_true",
        help="photos are frames, with a folder for each video: a video stays in one split",
    )


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    if args.metadata:
        yield from _combined(args, run)
        return
    root = local_copy(args.results)
    answers = sorted((root / "gemma_jsons").glob(f"*{_ANSWER}"))
    if not answers:
        raise SourceError(
            f"--results={root} has no gemma_jsons/*{_ANSWER}; name the folder that holds gemma_jsons"
        )
    run.files.append(str(root))
    run.build_flags.append(f"--images={root}")  # where focused regions are
    reader = _Reader(args, run, root)
    for path in run.progress(answers, "records", "photos", len(answers)):
        id = path.name.removesuffix(_ANSWER)
        if record := run.attempt(path.name, reader.record, path, id):
            yield record
    known = {path.name.removesuffix(_ANSWER) for path in answers}
    for path in sorted((root / "dino_results").glob(f"*{_BOXES}")):
        if path.name.removesuffix(_BOXES) not in known:
            detail = f"there is no gemma_jsons/{path.name.removesuffix(_BOXES)}{_ANSWER}"
            run.problems.add("no_answer", DROPPED, "scene", path.name, detail)


class _Reader:
    def __init__(self, args: argparse.Namespace, run: Run, root: Path):
        self._args, self._run, self._root = args, run, root
        self._photos = Photos(run.images)

    def record(self, path: Path, id: str) -> Record | None:
        content = _read(path)
        detected = self._root / "dino_results" / f"{id}{_BOXES}"
        found = _read(detected) if detected.is_file() else {}
        name = content.get("image") or found.get("img_file") or f"{id}.jpg"
        image, is_there = self._photos.find_end(str(name))
        answer, broken = _answer(content.get("response"))
        # Masks are of the photo's size, which is told nowhere else.
        wanted = found and not self._args.without_masks
        shown, unreadable = self._masks(id) if wanted else (None, "")
        size = (shown.shape[2], shown.shape[1]) if shown is not None else self._size(image)
        draft = Draft(
            *(self._run.problems, id, image, path.name, size),
            action=texts.clean(answer.get("action")),
            split=self._run.split,
            group=image.rpartition("/")[0] if self._args.frames else None,
            source="ScenarioCLIP's pipeline",
        )
        if unreadable:
            draft.problem("unreadable_masks", DROPPED, "mask", unreadable)
        if broken:
            draft.problem("unreadable_answer", DROPPED, "scene", broken, "response")
        if not is_there:
            draft.problem("photo_not_found", KEPT, "scene", f"{name} isn't in --images")
        draft.add_captions([answer.get("dense caption") or answer.get("dense_caption")])
        if not found:
            draft.problem("no_boxes", DROPPED, "object", f"there is no {detected.name}")
        self._add_objects(
            draft, found, shown, [texts.label(o) for o in answer.get("objects") or ()]
        )
        self._add_relations(
            draft, content.get("focused_regions") or {}, answer.get("relations") or ()
        )
        return draft.finish()

    def _size(self, image: str) -> tuple[int, int] | None:
        try:
            return self._photos.size(image)
        except OSError:
            return None

    def _masks(self, id: str) -> tuple[np.ndarray | None, str]:
        """Masks, bool [objects, height, width], in the order of the boxes, or None; and what is wrong."""
        path = self._root / "sam_results" / f"{id}{_MASKS}"
        if not path.is_file():
            return None, ""
        try:
            # Never pickles, which could run anything.
            with np.load(path, allow_pickle=False) as arrays:
                found = np.asarray(arrays["mask"])
            return found.reshape(-1, *found.shape[-2:]) > 0, ""
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            faults.refuse(error, path)
            return None, f"{path.name}: {error}"

    def _add_objects(
        self, draft: Draft, found: dict[str, Any], shown: np.ndarray | None, asked: list[str]
    ) -> None:
        labels = [texts.label(text) for text in found.get("labels") or ()]
        scores = found.get("scores") or [None] * len(labels)
        # Masks of a batch are padded, at the end.
        if shown is not None and len(shown) < len(labels):
            detail = f"{len(shown)} masks of {len(labels)} boxes"
            draft.problem("too_few_masks", DROPPED, "mask", detail)
            shown = None
        rows = zip(labels, found.get("boxes") or (), scores, strict=True)
        for position, (name, box, score) in enumerate(rows):
            where = f"{_BOXES[1:]} boxes[{position}]"
            if asked and name and name not in asked:
                detail = f"{name!r} is none of {', '.join(asked)}: a part of a name, or several"
                draft.problem("label_not_asked_for", KEPT, "object", detail, where)
            mask = None
            if shown is not None and shown[position].any():
                mask = masks.from_array(shown[position])
            score = None if score is None else float(score)
            draft.add_object(
                position, name, boxes.numbers(box), where=where, mask=mask, score=score
            )
        for name in sorted(set(asked) - set(labels)):
            draft.problem("undetected_object", NOTED, "object", f"{name!r} has no box")

    def _add_relations(self, draft: Draft, regions: dict[str, Any], told: Any) -> None:
        triplets = [triplet_of(values.get("relation")) for values in regions.values()]
        triplets += [triplet_of(relation) for relation in told]
        true = {triplet for triplet in triplets if triplet}
        shown = set()
        for path, values in regions.items():
            triplet = triplet_of(values.get("relation"))
            shown.add(triplet)
            more: dict[str, Any] = {
                "negatives": negatives_of(draft, triplet, values.get("neg_samples") or (), true)
            }
            if focus := self._focus(draft, path):
                more["focus"] = focus
            add_named_relation(draft, triplet, values.get("relation"), "focused_regions", more)
        for relation in told:
            if (triplet := triplet_of(relation)) not in shown or not triplet:
                add_named_relation(draft, triplet, relation, "relations", {})

    def _focus(self, draft: Draft, path: str) -> str | None:
        """The path of a focused region below the folder of results, if it's there."""
        parts = path.replace("\\", "/").rpartition("sam_results/")
        name = f"sam_results/{parts[2]}"
        if (self._root / name).is_file():
            return name
        detail = f"{path} isn't in {self._root}; the region is made of masks or boxes instead"
        draft.problem("missing_focus", KEPT, "relation", detail, "focused_regions")
        return None


def _combined(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    files = metadata.files(local_copy(args.metadata))
    run.files += map(str, files)
    run.build_flags.append(f"--images={as_given(args.metadata)}")
    for where, entry in run.progress(metadata.entries(files), "records", "photos"):
        if record := run.attempt(where, lambda e=entry, w=where: _published(args, run, e, w)):
            yield record


def _published(
    args: argparse.Namespace, run: Run, entry: dict[str, Any], where: str
) -> Record | None:
    image = entry["image_path"]
    draft = Draft(
        *(run.problems, entry["id"], image, where),
        action=texts.clean(entry.get("action")),
        split=run.split or entry.get("split"),
        group=image.rpartition("/")[0] if args.frames else entry.get("group"),
        source="ScenarioCLIP's metadata",
    )
    add_published(draft, entry)
    return draft.finish()


def _answer(response: Any) -> tuple[dict[str, Any], str]:
    """The language model's answer, which may still be text in a code fence; and what is wrong with it."""
    if isinstance(response, str):
        start, end = response.find("{"), response.rfind("}")
        try:
            response = json.loads(response[start : end + 1])
        except ValueError as error:
            return {}, f"not JSON ({error}): {response[:80]!r}"
    if not isinstance(response, dict):
        return {}, f"{type(response).__name__} instead of an object"
    return response, ""


def _read(path: Path) -> dict[str, Any]:
    with json_stream.opened(path) as file:
        content = json.loads(file.read())
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} isn't an object")
    return content


SOURCE = Source(
    "scenarioclip", "the results of the pipeline of ScenarioCLIP's authors", _add_flags, _records
)
