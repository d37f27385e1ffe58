"""The peer's data set: the published format read from its files, one scene at a time."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from benchmarks.peer import transforms
from benchmarks.peer.training import PeerBatch


class PeerScene(NamedTuple):
    photo: torch.Tensor  # float32 [3, P, P]
    objects: torch.Tensor  # float32 [objects, 3, P, P]
    relations: torch.Tensor  # float32 [relations, 3, P, P]
    action: str
    names: list[str]
    triplets: list[str]


class PeerDataset(torch.utils.data.Dataset):
    """Scenes of a data root with the training views; one seed a scene serves all of its views."""

    def __init__(self, root: Path, seed: int = 0):
        self.root, self.seed = Path(root), seed
        self.records = json.loads((self.root / "metadata.json").read_text())["data"]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> PeerScene:
        record, seed = self.records[index], hash((self.seed, index))
        photo = self._open(record["image_path"])
        objects = [
            self._view(only_box(photo, box), (0.15, 0.15, 0.15, 0.03), seed)
            for _, box in record["objects"]
        ]
        relations = [
            self._view(self._open(path), (0.1, 0.1, 0.1, 0.02), seed)
            for path, *_ in record["relations"]
        ]
        return PeerScene(
            self._global(photo, seed),
            torch.stack(objects),
            torch.stack(relations),
            record["action"],
            [name for name, _ in record["objects"]],
            [" ".join(triplet) for _, triplet, *_ in record["relations"]],
        )

    def _open(self, path: str) -> Image.Image:
        return Image.open(self.root / path).convert("RGB")

    def _global(self, photo: Image.Image, seed: int) -> torch.Tensor:
        draw = random.Random(seed)
        image = transforms.random_resized_crop(photo, draw)
        image = transforms.color_jitter(image, (0.2, 0.2, 0.2, 0.05), 0.2, draw)
        return transforms.to_tensor(transforms.gaussian_blur(image, 0.1, draw))

    def _view(self, image: Image.Image, strength: tuple, seed: int) -> torch.Tensor:
        image = transforms.resize_and_crop(image)
        image = transforms.color_jitter(image, strength, 0.2, random.Random(seed))
        return transforms.to_tensor(image)


def only_box(photo: Image.Image, box: Sequence[float]) -> Image.Image:
    """The photo with everything outside a box black."""
    whole = tuple(int(edge) for edge in box)
    canvas = Image.new("RGB", photo.size)
    canvas.paste(photo.crop(whole), whole[:2])
    return canvas


class Collate:
    """Scenes to a batch.

    Args:
      encode: texts to ids and their number, `scenarioclip_jax.data.tokens.Tokenizer.encode`.
      eos_id: ends and fills up texts.
      length: the most tokens of a text; a batch's texts are as long as the longest of them.
    """

    def __init__(self, encode: Callable, eos_id: int, length: int = 77):
        self._encode, self._eos_id, self._length = encode, eos_id, length

    def __call__(self, scenes: Sequence[PeerScene]) -> PeerBatch:
        texts = {
            "global": [scene.action for scene in scenes],
            "object": [name for scene in scenes for name in scene.names],
            "relation": [text for scene in scenes for text in scene.triplets],
        }
        numbers = torch.arange(len(scenes))
        counts = {
            "object": torch.tensor([len(scene.names) for scene in scenes]),
            "relation": torch.tensor([len(scene.triplets) for scene in scenes]),
        }
        return PeerBatch(
            {
                "global": torch.stack([scene.photo for scene in scenes]),
                "object": torch.cat([scene.objects for scene in scenes]),
                "relation": torch.cat([scene.relations for scene in scenes]),
            },
            {level: self.ids(of_level) for level, of_level in texts.items()},
            {level: torch.repeat_interleave(numbers, count) for level, count in counts.items()},
        )

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 [N, L], L being the longest of them."""
        ids, _ = self._encode(texts, self._length)
        longest = int((ids == self._eos_id).argmax(1).max()) + 1
        return torch.from_numpy(ids[:, :longest]).long()
