"""COCO and Flickr30k captions: retrieval both ways on a Karpathy split (Karpathy and Fei-Fei 2015).

    FILE.json   {"images": [{"filename", "filepath" (COCO), "split", "sentences": [{"raw"}, …]}, …]}

Each picture of the test split has its first five captions. Picture to text: any of the five among the k nearest
is a hit. Text to picture: each caption has one right picture. A tie is wrong.
"""

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Row, SuiteError, read_json, rows
from scenarioclip_jax.evaluation.ranks import chance_of_hit, first_right_ranks
from scenarioclip_jax.evaluation.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings, name_of

CAPTIONS = 5  # of a picture
TOP = (1, 5, 10)
PROTOCOL = (
    "Karpathy's test split, the first 5 captions of a picture. image_to_text: any of a picture's captions "
    "among the k nearest is a hit; text_to_image: the caption's picture is. A tie is wrong."
)


def score(
    images: np.ndarray, texts: np.ndarray, image_of: np.ndarray
) -> tuple[dict[str, Metric], np.ndarray]:
    """Recalls both ways, and the ranks of the pictures' best captions, int [N].

    Args:
      images: [V, N, D]; texts: [V, M, D]; stacked by level.
      image_of: int [M], the row of each text's picture; every picture has a text.
    """
    count = images.shape[1]
    own = [[] for _ in range(count)]
    for text, image in enumerate(image_of):
        own[image].append(text)
    to_text = first_right_ranks(images, texts, own)
    to_image = first_right_ranks(texts, images, [[image] for image in image_of])
    metrics = {}
    for k in TOP:
        chance = np.mean([chance_of_hit(len(image_of), len(each), k) for each in own])
        hits = (to_text < k).astype(float)
        metrics[f"image_to_text/R@{k}"] = Metric(hits, chance=float(chance))
    for k in TOP:
        hits = (to_image < k).astype(float)
        # The captions of one picture aren't independent.
        metrics[f"text_to_image/R@{k}"] = Metric(
            hits, clusters=np.asarray(image_of), chance=min(k, count) / count
        )
    return metrics, to_text


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Raises SuiteError: the file or a record is malformed, or there is no test split."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    content = read_json(files.path)
    if not isinstance(content, dict) or "images" not in content:
        raise SuiteError(f"{files.path}: expected an object with 'images'")
    pictures, captions, image_of, left_out = [], [], [], 0
    for row in rows(content["images"], files.path, prefix="images"):
        if row.get("split") != "test":
            continue
        texts = _captions(row)
        left_out += max(0, len(texts) - CAPTIONS)
        folder = row.values.get("filepath")
        name = f"{folder}/{row.get('filename')}" if folder else row.get("filename")
        path = files.image(name, row.where, result.skips)
        if path:
            image_of += [len(pictures)] * len(texts[:CAPTIONS])
            captions += texts[:CAPTIONS]
            pictures.append(Picture(path))
    if not pictures:
        raise SuiteError(f"{files.path}: no picture of the test split is left")
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    result.metrics, ranks = score(images, texts, np.array(image_of))
    result.counts = {
        "pictures": len(pictures),
        "captions": len(captions),
        "captions beyond a picture's first 5, left out": left_out,
    }
    first = {image: text for text, image in reversed(list(enumerate(image_of)))}
    worst = [i for i in np.argsort(-ranks, kind="stable")[:6] if ranks[i] > 0]
    result.examples["pictures whose captions rank last"] = [
        Example(pictures[i], f"rank {ranks[i] + 1}: {captions[first[i]]}", False) for i in worst
    ]
    return result


def _captions(row: Row) -> list[str]:
    sentences = row.get("sentences", list)
    if not sentences:
        raise SuiteError(f"{row.where}: no sentences")
    found = []
    for sentence in sentences:
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        found.append(row.text(raw, "sentences[].raw"))
    return found
