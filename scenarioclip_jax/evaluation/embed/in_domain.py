"""The built data set, embedded split by split: what the in-domain suites score."""

import functools
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt64

from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.corrupt import Corrupt, CorruptDataError, read_scene
from scenarioclip_jax.data.device.views import ViewSettings
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Scene, Triplet
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.data.view import map_boxes, photo_view
from scenarioclip_jax.evaluation.embed.cache import digest
from scenarioclip_jax.evaluation.embed.embedder import Embedder, Gallery
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.report import pictures
from scenarioclip_jax.evaluation.report.shots import Shot, collect_shots
from scenarioclip_jax.evaluation.score.recognition import CLASS_LISTS
from scenarioclip_jax.evaluation.score.result import Skips
from scenarioclip_jax.files import sha256_of
from scenarioclip_jax.models.scenario_clip import pools
from scenarioclip_jax.parallel.mesh import batch_ways
from scenarioclip_jax.progress_bar import progress_bar

SCENES = 32  # least number of scenes to read at once


class Split(NamedTuple):
    """A split's images by level, and the triplets behind its relations, in the gallery's order."""

    galleries: dict[str, Gallery]  # levels without any image are left out
    triplets: list[Triplet]
    negatives: list[list[Triplet]]
    corrupt: list[int]  # unreadable records, which are left out
    # Embeddings of the photos that have captions, float32 [N, D], and their captions.
    captioned: np.ndarray
    captions: list[list[str]]
    paraphrases: list[list[str]]  # of each relation, as annotated
    photos: Gallery  # all photos, also those without an action; texts are their actions


@runtime_checkable
class InDomain(Protocol):
    """What suites need from the data set; `DataSet` is the real implementation."""

    def split(self, name: str) -> Split: ...

    def photo_ids(self, name: str) -> set[str]: ...

    def classes(self, level: str) -> list[str]: ...

    def predicates(self) -> dict[str, str]: ...

    def unseen(self) -> set[str]: ...


def read_split(data: InDomain, name: str, skips: Skips) -> Split:
    """Opens a split and counts its unreadable records."""
    split = data.split(name)
    for index in split.corrupt:
        skips.add("record can't be read", f"{name} record {index}")
    return split


def by_level(split: Split, name: str, skips: Skips) -> Iterator[tuple[str, Gallery]]:
    """Yields a split's galleries by level; levels without any image are counted.

    Raises:
      SuiteError: No level has any image.
    """
    if not split.galleries:
        raise UnsupportedError(
            f"the {name} split holds no action, object or relation of a picture that can be read"
        )
    for level in LEVELS:
        if level in split.galleries:
            yield level, split.galleries[level]
        else:
            skips.add("level without pictures", level)


class DataSet:
    """A data set that `scenarioclip_jax.data.build` wrote, seen by a model.

    Args:
      encoder: Encoder that embeds and caches.
      directory: Folder of the data set.
      scenes: Number of scenes to take from the start of each split; 0 for all.

    Raises:
      DataSetError: There is no such data set.
    """

    def __init__(
        self, encoder: ModelEncoder, directory: Path, *, scenes: int = 0, threads: int = 2
    ):
        self._encoder, self._directory, self._scenes = encoder, directory, scenes
        spec, ways = encoder.model.spec, batch_ways(encoder.model.mesh)
        self._summary = shards.load_summary(directory)
        self._settings = DataSettings(
            batch_size=ways * -(-SCENES // ways),
            packing_groups=ways,
            image_size=encoder.model.image_size,
            fit=spec.fit,
            region_style=spec.region_style,
            pooled_regions=pools(spec.model),
            num_threads=threads,
            max_corrupt_share=1.0,  # unreadable records are counted and shown
            focus_images=self._summary["has_focus_images"],
            levels={level: {"text_length": spec.lengths[level]} for level in LEVELS},
        )
        self._view_settings = ViewSettings(fit=spec.fit, region_style=spec.region_style)
        self._classes = shards.load_classes(directory)
        self.split = functools.lru_cache(maxsize=1)(self._split)

    def classes(self, level: str) -> list[str]:
        """The class texts of a level; raises UnsupportedError if there is only one."""
        texts = self._classes[CLASS_LISTS[level]]
        if len(texts) == 1:
            raise UnsupportedError(
                f"{shards.dataset_dir(self._directory) / 'classes.json'}: {CLASS_LISTS[level]} lists one "
                f"class, {texts[0]!r}; there is nothing to tell apart"
            )
        return texts

    def digests(self) -> dict[str, str]:
        """SHA-256 of the content of the test split, by its folder; empty if an earlier version built it."""
        digest = self._summary.get("digests", {}).get("test", "")
        return {f"{self._directory}, test": digest} if digest else {}

    def photos(self) -> UInt64[np.ndarray, " N"] | None:
        """Digests of the test split's photos (`data.photo_digests`); None if an earlier version built it."""
        folder = shards.dataset_dir(self._directory)
        return photo_digests.read(folder / photo_digests.of_split("test"))

    def unseen(self) -> set[str]:
        """The texts of relations that aren't in this data set's training split; none if it has none."""
        if not self._summary["splits"]["train"]:
            return set()
        counts = shards.load_class_counts(self._directory)[CLASS_LISTS["relation"]]
        return {text for text, by_split in counts.items() if not by_split["train"]}

    def photo_ids(self, name: str) -> set[str]:
        """Ids of all readable photos in a split; empty if there is no such split."""
        return {scene.id for scene in self._readable(name)}

    def predicates(self) -> dict[str, str]:
        """The predicate of each relation text that occurs in the data."""
        known = {}
        for name in SPLITS:
            for scene in self._readable(name):
                known |= {relation_text(r.triplet): r.triplet[1] for r in scene.relations}
        return known

    def _readable(self, name: str) -> Iterator[Scene]:
        """Yields all scenes of a split, whatever `scenes` is, except damaged records.

        Raises:
          InputUnavailableError: The system refuses to read a record.
        """
        if not self._summary["splits"][name]:
            return
        source = shards.open_split(self._directory, name)
        for index in range(len(source)):
            scene = read_scene(source, index)
            if not isinstance(scene, Corrupt):  # `split` counts and shows the others
                yield scene

    def views(self, wanted: dict[str, set[int]]) -> dict[str, dict[int, np.ndarray]]:
        """Views of the test split by level and row, uint8 [P, P, 3]."""
        return pictures.collect_views(self._batches("test"), self._view_settings, wanted)

    def shots(self, wanted: dict[str, set[int]]) -> dict[str, dict[int, Shot]]:
        """Photos of the test split with their boxes, by level and row, for the report."""
        views = {}
        # A tower that pools its regions sees the whole photo; so does the one of actions.
        if any(wanted[level] for level in LEVELS[1:]) and not self._settings.pooled_regions:
            views = self.views({level: wanted[level] for level in LEVELS[1:]})
        return collect_shots(self._scenes_of("test", self.split("test").corrupt), wanted, views)

    def count(self, name: str) -> int:
        """The number of scenes of a split that are scored, damaged ones included."""
        return len(self._indices(name)) if self._summary["splits"][name] else 0

    def object_boxes(self, name: str) -> Float[np.ndarray, "N 4"]:
        """The box of each object of a split in its photo's view: x0, y0, x1, y1 in pixels, by gallery row."""
        model, boxes = self._encoder.model, [np.zeros((0, 4), np.float32)]
        for scene in self._scenes_of(name, self.split(name).corrupt):
            view = photo_view(scene.width, scene.height, model.image_size, model.spec.fit)
            boxes.append(map_boxes(scene.object_boxes, view))
        return np.concatenate(boxes)

    def _indices(self, name: str) -> range:
        count = len(shards.open_split(self._directory, name))
        return range(min(self._scenes or count, count))

    def _batches(self, name: str):
        source = shards.open_split(self._directory, name)
        tokenizer = self._encoder.model.tokenizer
        return EvaluationBatches(source, tokenizer, self._settings, self._indices(name))

    def _scenes_of(self, name: str, corrupt: Collection[int] = ()) -> Iterator[Scene]:
        """Yields the scenes that were embedded; all of them, since they have to match the embeddings.

        Raises:
          CorruptDataError: A record is damaged that could be read when it was embedded.
          InputUnavailableError: The system refuses to read a record.
        """
        source = shards.open_split(self._directory, name)
        for index in self._indices(name):
            if index in corrupt:
                continue
            scene = read_scene(source, index)
            if isinstance(scene, Corrupt):
                raise CorruptDataError(
                    f"record {index} of the {name} split is damaged by now: {scene.reason}"
                )
            yield scene

    def _split(self, name: str) -> Split:
        if not self._summary["splits"][name]:
            raise UnsupportedError(
                f"{self._directory} has no {name} split: no record names it, or too few photos were built",
                "build it from more photos, or with other shares (scenarioclip_jax.data.build --fractions "
                "0.5,0.2,0.3, or --validation-share)",
            )
        data = digest(self._scenes, *map(sha256_of, self._files(name)))
        computed = functools.cache(lambda: self._embed(name))  # one pass serves all levels
        arrays = {
            part: self._encoder.cache.get(
                self._encoder.key("split", part, data), lambda part=part: computed()[part]
            )
            for part in (*LEVELS, "corrupt")
        }
        corrupt = set(arrays["corrupt"].tolist())
        # Drops the photos, which are large.
        scenes = [
            scene._replace(photo=hashlib.sha256(scene.photo).digest())
            for scene in self._scenes_of(name, corrupt)
        ]
        relations = [relation for scene in scenes for relation in scene.relations]
        whole = _galleries(arrays, scenes)
        galleries = {level: gallery.told() for level, gallery in whole.items()}
        rows, captions = _captioned(scenes, whole["global"].pictures)
        return Split(
            {level: gallery for level, gallery in galleries.items() if gallery.texts},
            [relation.triplet for relation in relations],
            [relation.negatives for relation in relations],
            sorted(corrupt),
            arrays["global"][rows],
            captions,
            [list(relation.paraphrases) for relation in relations],
            whole["global"],
        )

    def _embed(self, name: str) -> dict[str, np.ndarray]:
        """Embeds all images by level in the split's order, float32 [N, D]; `corrupt` holds skipped records."""
        model, batches = self._encoder.model, self._batches(name)
        embedder = Embedder(
            model.graph, model.mesh, model.tokenizer, self._view_settings, model.spec.lengths
        )
        count = len(self._indices(name))
        quiet = self._encoder.quiet
        with progress_bar(total=count, desc=f"scenes, {name}", disable=quiet) as bar:

            def shown():
                for batch, labels in batches:
                    yield batch, labels
                    bar.update(int(batch.scenes.mask.sum()))

            galleries = embedder.images(model.params, shown())
        arrays = {level: gallery.embeddings for level, gallery in galleries.items()}
        return arrays | {"corrupt": np.array(sorted(batches.corrupt.reasons), np.int64)}

    def _files(self, name: str) -> list[Path]:
        folder = shards.dataset_dir(self._directory)
        return sorted(folder.glob(f"{shards.NAME}-{name}.array_record-*"))


def _galleries(arrays: dict[str, np.ndarray], scenes: list[Scene]) -> dict[str, Gallery]:
    """All images of some scenes, by level, with their embeddings."""
    relations = [relation for scene in scenes for relation in scene.relations]
    texts = {
        "global": [scene.action for scene in scenes],
        "object": [name for scene in scenes for name in scene.object_names],
        "relation": [relation_text(relation.triplet) for relation in relations],
    }
    photos = {
        "global": [scene.id for scene in scenes],
        "object": [scene.id for scene in scenes for _ in scene.object_names],
        "relation": [scene.id for scene in scenes for _ in scene.relations],
    }
    pictures = {
        "global": [digest(scene.photo) for scene in scenes],
        "object": [digest(s.photo, box.tobytes()) for s in scenes for box in s.object_boxes],
        "relation": [
            digest(s.photo, r.boxes.tobytes(), r.mask, r.image) for s in scenes for r in s.relations
        ],
    }
    return {k: Gallery(arrays[k], texts[k], photos[k], pictures[k]) for k in LEVELS}


def _captioned(scenes: list[Scene], photos: list[str]) -> tuple[list[int], list[list[str]]]:
    """The photos that have captions: the first scene that shows each, and what all its scenes say.

    Args:
      scenes: All scenes.
      photos: The photo of each, equal for equal pixels.
    """
    captions: dict[str, list[str]] = {}  # several scenes may show one photo
    row_of: dict[str, int] = {}
    for row, (photo, scene) in enumerate(zip(photos, scenes, strict=True)):
        if scene.captions:
            row_of.setdefault(photo, row)
            captions.setdefault(photo, []).extend(scene.captions)
    return list(row_of.values()), [list(dict.fromkeys(each)) for each in captions.values()]
