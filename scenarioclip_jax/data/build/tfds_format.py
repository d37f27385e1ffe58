"""Writes scenes so that TFDS reads them: serialized examples, and the files that describe a data set.

TFDS is used without TensorFlow. Reading doesn't need it: `open_split` and its companions are in
`data.stored.shards`. The data set is ScenarioCLIP's Action-Genome, not the video data set of that name.
"""

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, hashing
from tensorflow_datasets.core.utils import shard_utils

from scenarioclip_jax.data.stored import shards, tf_example
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.data.stored.splits import SPLITS

WRITER_OPTIONS = "group_size:1"  # records are read one by one, in random order


@functools.cache
def features() -> tfds.features.FeaturesDict:
    """The features of a scene, see `shards.encode_scene`."""
    text, image = tfds.features.Text(), tfds.features.Image(shape=(None, None, 3))
    # Masks and focused-region images may be empty, which an Image feature doesn't allow.
    encoded = tfds.features.Tensor(shape=(), dtype=np.object_)
    box = tfds.features.Tensor(shape=(4,), dtype=np.float32)
    index = tfds.features.Scalar(np.int32)
    triplet = {"subject": text, "predicate": text, "object": text}
    return tfds.features.FeaturesDict(
        {
            "id": text,
            "photo": image,
            "width": index,
            "height": index,
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
    )


@functools.cache
def _serializer() -> example_serializer.ExampleSerializer:
    specs: Any = features().get_serialized_info()
    return example_serializer.ExampleSerializer(specs)


def serialize(scene: Scene) -> bytes:
    """Returns a scene as a serialized `tf.train.Example`: the same bytes in every process."""
    encoded = features().encode_example(shards.encode_scene(scene))
    return tf_example.in_order(_serializer().serialize_example(encoded))


def order_key(id: str, split: str) -> bytes:
    """What TFDS sorts the scenes of a split by: a hash, so that their order is random but always the same."""
    return hashing.Hasher(split).hash_key(id).to_bytes(16, "big")


def shard_counts(scenes: int, size: int, num_shards: int | None) -> list[int]:
    """Returns the number of scenes in each shard of a split.

    Args:
      scenes: Number of scenes, at least 1.
      size: Their bytes.
      num_shards: Number of shards, if there are so many scenes; None for one for each
        64 MB to 1 GB, as in TFDS.
    """
    config = shard_utils.ShardConfig(num_shards=num_shards)
    number = min(config.get_number_shards(size, scenes), scenes)
    edges = [0, *shard_utils.get_shard_boundaries(scenes, number)]
    return [end - start for start, end in itertools.pairwise(edges)]


def write_description(
    folder: Path, shard_lengths: Mapping[str, Sequence[int]], sizes: Mapping[str, int]
) -> None:
    """Writes dataset_info.json and features.json beside the shards.

    Args:
      folder: The folder of the shards.
      shard_lengths: Scenes in each shard, by split; splits without any are left out.
      sizes: Bytes of the scenes, by split.
    """
    features().save_config(str(folder))
    info = {
        "description": "ScenarioCLIP's Action-Genome: scenes annotated at three levels.",
        "fileFormat": "array_record",
        "name": shards.NAME,
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split,
                "numBytes": str(sizes[split]),
                "shardLengths": [str(count) for count in shard_lengths[split]],
            }
            for split in SPLITS
            if split in shard_lengths
        ],
        "version": shards.VERSION,
    }
    text = json.dumps(info, indent=2)
    (folder / "dataset_info.json").write_text(text, encoding="utf-8")
