"""The TFDS builder: turns annotations in the published format into ArrayRecord shards, without TensorFlow.

`dataset.py` runs it. Reading doesn't need it: `open_split` and its companions are in `shards.py` and are only
re-exported here. The data set is ScenarioCLIP's Action-Genome, not the video data set of that name.
"""

import contextlib
import dataclasses
import io
import itertools
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import shard_utils

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build.annotations import Record, read_records
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.assign_splits import assign_splits
from scenarioclip_jax.data.build.box_votes import BoxFlags, decide
from scenarioclip_jax.data.build.class_lists import CLASS_KINDS, compare_classes, read_classes
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import DROPPED, AnnotationError, Problems
from scenarioclip_jax.data.build.shared_photos import shared_photos
from scenarioclip_jax.data.build.without_tensorflow import spill_to_plain_files
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.scene import Scene, relation_text
from scenarioclip_jax.data.stored.shards import (
    DataSetError,
    SceneSource,
    load_class_counts,
    load_classes,
    load_summary,
    open_split,
)
from scenarioclip_jax.data.stored.splits import FRACTIONS, SPLITS
from scenarioclip_jax.progress_bar import progress_bar

__all__ = [
    "ActionGenome",
    "DataSetError",
    "SceneSource",
    "load_class_counts",
    "load_classes",
    "load_summary",
    "open_split",
    "prepare",
]


MANY_CAPTIONS = 10_000  # that the tokenizer is trained on


class Statistics:
    """The counts that a build collects as scenes pass by."""

    def __init__(self, classes: dict[str, list[str]]):
        self.scenes: Counter[str] = Counter()  # by split
        self.objects: Counter[int] = Counter()  # scenes by number of objects
        self.relations: Counter[int] = Counter()
        self.negatives = 0
        self.captions = 0
        self.some_captions: list[str] = []  # for the tokenizer
        self.texts: Counter[str] = Counter()  # scenes by what the whole scene has
        self.masks = 0  # of objects
        self.focus: Counter[str] = Counter()  # relations by how their focused region is stored
        self.labels: dict[str, dict[str, Counter[str]]] = {
            kind: defaultdict(Counter, {text: Counter() for text in classes[kind]})
            for kind in CLASS_KINDS
        }

    def add(self, scene: Scene, split: str) -> None:
        self.scenes[split] += 1
        self.objects[len(scene.object_names)] += 1
        self.relations[len(scene.relations)] += 1
        self.negatives += sum(len(relation.negatives) for relation in scene.relations)
        if scene.action:
            self.labels["actions"][scene.action][split] += 1
        self.texts["action"] += bool(scene.action)
        self.texts["captions"] += bool(scene.captions)
        self.texts["neither"] += not (scene.action or scene.captions)
        self.captions += len(scene.captions)
        # Where every scene has an action, captions are read only on demand.
        if split == "train" and not scene.action and len(self.some_captions) < MANY_CAPTIONS:
            self.some_captions += scene.captions
        self.masks += sum(map(bool, scene.object_masks))
        for name in scene.object_names:
            self.labels["objects"][name][split] += 1
        for relation in scene.relations:
            self.labels["relations"][relation_text(relation.triplet)][split] += 1

    def class_counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Returns {kind: {text: {split: count}}}, sorted by text."""
        return {
            kind: {text: {s: counts[text][s] for s in SPLITS} for text in sorted(counts)}
            for kind, counts in self.labels.items()
        }


class ActionGenome(tfds.core.GeneratorBasedBuilder):
    """Scenes with an action, objects with boxes, and relations with focused regions."""

    VERSION = tfds.core.Version(shards.VERSION)
    # TFDS would look for download checksums beside this file, with a package it doesn't depend on.
    code_path = None

    def __init__(
        self,
        *,
        metadata_dir: str | Path = ".",
        fractions: Sequence[float] = FRACTIONS,
        strict: bool = False,
        max_pixels: int = images.MAX_PIXELS,
        progress: bool = True,
        folders: Folders | None = None,
        boxes: BoxFlags | None = None,
        skip_broken: bool = False,
        **kwargs,
    ):
        """Makes a builder; `prepare` runs it.

        Args:
          metadata_dir: The data root, with metadata*.json, classes.json and the images.
          fractions: Shares of train, validation and test.
          strict: Whether to raise AnnotationError at the first problem.
          max_pixels: Most pixels of a photo.
          progress: Whether to show a progress bar.
          folders: Folders with the images; None if they are below the data root.
          boxes: What is known about the convention of the boxes; None for nothing.
          skip_broken: Whether to list metadata files that can't be parsed instead of stopping.
          **kwargs: Arguments of tfds.core.GeneratorBasedBuilder.
        """
        self.root = Path(metadata_dir)
        self.folders = folders or Folders(self.root)
        self.box_flags, self.skip_broken = boxes or BoxFlags(), skip_broken
        self.fractions = fractions
        self.problems = Problems(strict)
        self.max_pixels = max_pixels
        self.progress = progress
        # Set while building: scenes that show the same photo, one entry per photo.
        self.shared: list[dict[str, str | list[str]]] = []
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text, image = tfds.features.Text(), tfds.features.Image(shape=(None, None, 3))
        # Masks and focused-region images may be empty, which an Image feature doesn't allow.
        encoded = tfds.features.Tensor(shape=(), dtype=np.object_)
        box = tfds.features.Tensor(shape=(4,), dtype=np.float32)
        index = tfds.features.Scalar(np.int32)
        triplet = {"subject": text, "predicate": text, "object": text}
        features = {
            "id": text,
            "photo": image,
            "width": tfds.features.Scalar(np.int32),
            "height": tfds.features.Scalar(np.int32),
            "action": text,
            "captions": tfds.features.Sequence(text),
            "source": text,
            "objects": tfds.features.Sequence(
                {
                    "name": text,
                    "box": box,
                    "mask": encoded,
                    "score": tfds.features.Scalar(np.float32),
                }
            ),
            "attributes": tfds.features.Sequence({"object": index, "text": text}),
            "relations": tfds.features.Sequence(
                {
                    **triplet,
                    "subject_box": box,
                    "object_box": box,
                    "mask": encoded,
                    "image": encoded,
                    "subject_index": index,
                    "object_index": index,
                }
            ),
            "negatives": tfds.features.Sequence({"relation": index, **triplet}),
            "paraphrases": tfds.features.Sequence({"relation": index, "text": text}),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="ScenarioCLIP's Action-Genome: scenes annotated at three levels.",
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        records = read_records(self.root, self.problems, skip_broken=self.skip_broken)
        self.listed = read_classes(self.root, self.problems)
        self.statistics = Statistics(self.listed)
        self.boxes = decide(records, self.folders.find, self.box_flags, self.problems)
        by_split: dict[str, list[Record]] = {split: [] for split in SPLITS}
        shared = shared_photos(
            records, self.folders, max_pixels=self.max_pixels, progress=self.progress
        )
        assigned = assign_splits(records, shared, self.fractions, self.problems)
        self.shared = [{"split": assigned[ids[0]], "ids": ids} for ids in shared.values()]
        for record in records:
            by_split[assigned[record.id]].append(record)
        self._bar = progress_bar(
            total=len(records),
            desc="Building",
            unit=" scenes",
            disable=not self.progress,
            say_end=True,
        )
        generators = {s: self._generate_examples(s, r) for s, r in by_split.items()}
        # TFDS refuses an empty split, so the first scene of each split is made here.
        firsts = {split: next(examples, None) for split, examples in generators.items()}
        if not any(firsts.values()):
            self.close_progress_bar()
            reasons = self.problems.examples(DROPPED)
            raise AnnotationError(f"none of the scenes in {self.root} can be used:\n{reasons}")
        return {s: itertools.chain([f], generators[s]) for s, f in firsts.items() if f}

    def _generate_examples(self, split: str, records: list[Record]) -> Iterator[tuple[str, dict]]:
        """Yields the id and the features of each usable record."""
        for record in records:
            scene = assemble(
                record,
                self.folders,
                self.problems,
                self.statistics.focus,
                max_pixels=self.max_pixels,
                boxes=self.boxes,
            )
            self._bar.update()
            if scene:
                self.statistics.add(scene, split)
                yield scene.id, shards.encode_scene(scene)

    def close_progress_bar(self) -> None:
        self._bar.close()


@dataclasses.dataclass(eq=False, frozen=True)
class _ShardConfig(shard_utils.ShardConfig):
    """`num_shards` for each split; a split with fewer scenes has one shard per scene."""

    def get_number_shards(self, total_size: int, num_examples: int, *args, **kwargs) -> int:
        number = super().get_number_shards(total_size, num_examples, *args, **kwargs)
        return min(number, max(num_examples, 1))


@dataclasses.dataclass
class _DownloadConfig(tfds.download.DownloadConfig):
    def get_shard_config(self) -> _ShardConfig:
        return _ShardConfig(num_shards=self.num_shards)


def prepare(builder: ActionGenome, num_shards: int | None) -> None:
    """Writes the shards of `builder` into its `data_dir`.

    Args:
      builder: A builder with an empty `data_dir`.
      num_shards: Shards per split; None lets TFDS choose (one for each 64 MB to 1 GB).
    """
    config = _DownloadConfig(num_shards=num_shards, try_download_gcs=False)
    tfds.display_progress_bar(False)
    # TFDS prints where it writes, but that is a temporary folder, which would only confuse.
    with (
        spill_to_plain_files(),
        _write_errors(Path(builder._data_dir_root)),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        builder.download_and_prepare(
            file_format="array_record",
            download_config=config,
            download_dir=os.path.join(builder._data_dir_root, "downloads"),
        )
    builder.close_progress_bar()
    occurring = {
        kind: [text for text, counts in of_kind.items() if any(counts.values())]
        for kind, of_kind in builder.statistics.labels.items()
    }
    compare_classes(builder.listed, occurring, builder.problems)


@contextlib.contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    """Turns the error that ArrayRecord's writer raises on a full disk into an OSError that says so."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError:
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            f"the shards can't be written to {folder.parent} ({error}); {free / 1e6:,.0f} MB are free there. "
            "Make room or name another --output"
        ) from error
