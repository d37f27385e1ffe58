"""Encoders and data sets whose embeddings are written down by hand."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.embed.in_domain import Split
from scenarioclip_jax.evaluation.files import Files


class FakeEncoder:
    """Looks embeddings up: pictures by file name without extension, texts by themselves.

    A value may be a dict by level. `asked` holds what was embedded.
    """

    def __init__(self, pictures: dict, texts: dict):
        self._pictures, self._texts = pictures, texts
        self.asked = []

    def images(self, pictures, level):
        self.asked += pictures
        return np.array([self._find(self._pictures, p.path.stem, level) for p in pictures])

    def texts(self, texts, level):
        self.asked += texts
        return np.array([self._find(self._texts, text, level) for text in texts])

    def fits(self, text, level):
        return True

    def _find(self, known, name, level):
        value = known[name]
        return np.array(value[level] if isinstance(value, dict) else value, np.float32)


class FakeData:
    """Splits by name: {level: [(embedding, text, photo id), …]}, and the test split's triplets."""

    def __init__(self, splits, classes, triplets=(), negatives=(), paraphrases=(), unseen=()):
        self._splits, self._classes = splits, classes
        self._paraphrases = list(paraphrases) or [[] for _ in triplets]
        self._unseen = set(unseen)
        self._triplets, self._negatives = list(triplets), list(negatives)
        self.opened = []

    def split(self, name):
        self.opened.append(name)
        galleries = {
            level: Gallery(
                np.array([row[0] for row in rows], np.float32),
                [row[1] for row in rows],
                [row[2] for row in rows],
            )
            for level, rows in self._splits[name].items()
        }
        photos = galleries.get("global", Gallery(np.zeros((0, 2)), [], []))
        nothing = np.zeros((0, 2))
        return Split(
            galleries,
            self._triplets,
            self._negatives,
            [],
            nothing,
            [],
            self._paraphrases,
            photos,
        )

    def unseen(self):
        return self._unseen

    def photo_ids(self, name):
        return {row[2] for rows in self._splits.get(name, {}).values() for row in rows}

    def classes(self, level):
        return self._classes[level]

    def predicates(self):
        return {" ".join(triplet): triplet[1] for triplet in self._triplets}


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (len(name) * 9 % 255, 80, 120)).save(path)


def write_json(path: Path, content) -> Path:
    path.write_text(json.dumps(content))
    return path


def write_jsonl(path: Path, records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def files(path: Path, **arguments) -> Files:
    folder = path if path.is_dir() else path.parent
    return Files(path, (folder, folder / "images"), **arguments)
