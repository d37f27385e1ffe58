"""In-domain linear probe: a linear classifier on each level's embeddings.

It is trained on the training split, selected on validation, and scored on test, which is opened only after
that selection.
"""

import itertools

import numpy as np

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, read_split
from scenarioclip_jax.evaluation.files import SuiteError, UnsupportedError
from scenarioclip_jax.evaluation.score.probe import Labeled, Probe, encode_labels, fit
from scenarioclip_jax.evaluation.score.result import Metric, Result, by_class
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite

TOP = (1, 5, 10)
PROTOCOL = (
    "Logistic regression on L2-normalized embeddings of the training split; rate, decay and epoch are those "
    "with the best top-1 on validation; scored on test. Classes are those of the training split: pictures of "
    "others count as wrong. A tie is wrong; k is capped."
)


def check_splits(data: InDomain) -> None:
    """Raises SuiteError, before anything is embedded, if a photo is in two splits or a split has none."""
    ids = {name: data.photo_ids(name) for name in SPLITS}
    for one, two in itertools.combinations(SPLITS, 2):
        if shared := sorted(ids[one] & ids[two]):
            raise SuiteError(
                f"{len(shared)} photos are in the {one} and in the {two} split, such as {shared[0]!r}; a score "
                "on them would mean nothing: build the data set again"
            )
    if empty := [name for name in SPLITS if not ids[name]]:
        raise UnsupportedError(
            f"the data set has no {' and no '.join(empty)} split, which the probe needs",
            "build it from more photos, or with other shares (data.build --fractions 0.5,0.2,0.3)",
        )


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores all levels with several classes; raises SuiteError if a split is empty or two share a photo."""
    result = Result({}, {}, "each level its own", PROTOCOL)
    check_splits(data)
    train, validation = (
        read_split(data, name, result.skips).galleries for name in ("train", "validation")
    )
    probes: dict[str, tuple[Probe, list[str]]] = {}
    for level in LEVELS:
        if level not in train or level not in validation:
            result.skips.add("level without pictures in the training or validation split", level)
            continue
        classes = sorted(set(train[level].texts))
        if len(classes) < 2:
            result.skips.add("level of one class, nothing to tell apart", f"{level}: {classes[0]}")
            continue
        parts = [_labeled(gallery[level], classes) for gallery in (train, validation)]
        probe = fit(*parts, len(classes), settings.probe, settings.seed)
        probes[level] = probe, classes
        result.choices[level] = probe.choices
    # Opened only here, so that nothing above can depend on it.
    test = read_split(data, "test", result.skips).galleries
    for level, (probe, classes) in probes.items():
        if level not in test:
            result.skips.add("level without pictures in the test split", level)
            continue
        gallery = test[level]
        labeled = _labeled(gallery, classes)
        ranks = probe.ranks(labeled)
        photos = np.unique(np.array(gallery.photo_ids), return_inverse=True)[1]
        for k in TOP:
            capped = min(k, len(classes))
            result.metrics[f"{level}/top{k}"] = Metric(
                (ranks < capped).astype(float), clusters=photos, chance=capped / len(classes)
            )
        result.bars[f"{level}: top-1 by class"] = by_class(gallery.texts, ranks < 1)
        result.counts |= {
            f"{level} training pictures": len(train[level].texts),
            f"{level} validation pictures": len(validation[level].texts),
            f"{level} test pictures": len(gallery.texts),
            f"{level} test pictures of classes unseen in training": int((labeled.labels < 0).sum()),
            f"{level} classes": len(classes),
        }
    if not result.metrics:
        raise UnsupportedError("no level has several classes and pictures in all three splits")
    return result


def _labeled(gallery: Gallery, classes: list[str]) -> Labeled:
    return Labeled(normalize(gallery.embeddings), encode_labels(gallery.texts, classes))


SUITES = (Suite("linear_probe", evaluate),)
