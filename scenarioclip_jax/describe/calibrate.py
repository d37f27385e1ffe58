"""Fits temperatures to a split, so that scores say how often they are right, and keeps them with the model.

    python -m scenarioclip_jax.describe.calibrate --model runs/mine --data SHARDS

For each level, one number divides the logits before the softmax (temperature scaling, Guo et al. 2017). It is
the one with the smallest negative log-likelihood of a split's annotations, by default of validation: a scene's
action among all actions, an object's name among all names, and a relation's predicate and direction among all
for its two objects, whose names are known. `calibration.json` in the model's folder keeps it, and
`scenarioclip_jax.load` reads it. Prints the expected calibration error before and after: the mean difference
between the best score and the share of the right ones, in 15 bins of equal width.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from scenarioclip_jax.console import say
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.images import to_rgb
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.describe.asking import Encoder, alone, answered
from scenarioclip_jax.describe.calibration import FILE, LEAST, MOST, CalibrationError, read
from scenarioclip_jax.describe.scene_graph import FoundObject
from scenarioclip_jax.describe.steps import pair_steps
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.files import write_text
from scenarioclip_jax.progress_bar import progress_bar
from scenarioclip_jax.storage.cache import local_copy

_BINS = 15


class Case(NamedTuple):
    """A question with its right answer."""

    logits: np.ndarray  # [M]
    truth: int


def cases(model: Encoder, scenes: Iterable[Scene], words: Words) -> dict[str, list[Case]]:
    """What a model says of annotated scenes, by level. What isn't among the words is left out."""
    found: dict[str, list[Case]] = {level: [] for level in LEVELS}
    actions, names = (
        {each: index for index, each in enumerate(texts)}
        for texts in (words.actions, words.objects)
    )
    embed = Texts(model)

    def add(level: str, cosines: np.ndarray, truth: int) -> None:
        scaled = model.logit_scale(level) * cosines.astype(np.float64)
        found[level].append(Case(scaled, truth))

    for scene in scenes:
        picture = to_rgb(scene.photo)
        if scene.action in actions:
            image = model.encode_image([picture], "global")
            cosines = model.similarity(image, embed(words.actions, "global"))[0]
            add("global", cosines, actions[scene.action])
        if len(scene.object_names) and words.objects:
            image = model.encode_objects(picture, scene.object_boxes)
            for name, cosines in zip(
                scene.object_names,
                model.similarity(image, embed(words.objects, "object")),
                strict=True,
            ):
                if name in names:
                    add("object", cosines, names[name])
        known = [each for each in scene.relations if each.triplet[1] in words.predicates]
        ends = [
            FoundObject(name, 1.0, tuple(box), ())
            for each in known
            for name, box in zip(each.triplet[::2], each.boxes.tolist(), strict=True)
        ]
        pairs = [(2 * index, 2 * index + 1) for index in range(len(known))]
        steps = pair_steps(model, picture, ends, pairs, words.predicates)
        asked = answered(steps, alone(model, embed))
        for each, pair, (candidates, cosines) in zip(known, pairs, asked, strict=True):
            add("relation", cosines, candidates.index((pair[0], each.triplet[1], pair[1])))
    return found


def fit(of_level: Sequence[Case]) -> float:
    """The temperature with the smallest mean negative log-likelihood, from LEAST to MOST."""

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return -float(np.mean([log_softmax(c.logits / temperature)[c.truth] for c in of_level]))

    bounds = (np.log(LEAST), np.log(MOST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def calibration_error(of_level: Sequence[Case], temperature: float) -> float:
    """The expected calibration error of the best answers (Guo et al. 2017, eq. 3)."""
    shares = [softmax(case.logits / temperature) for case in of_level]
    best = np.array([share.max() for share in shares])
    right = np.array([s.argmax() == c.truth for s, c in zip(shares, of_level, strict=True)])
    bins = np.minimum((best * _BINS).astype(int), _BINS - 1)
    weighted = [
        abs(best[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(weighted))


def calibrate(
    folder: Path,
    data: str | Path,
    *,
    weights: str = "student",
    split: str = "validation",
    most: int = 500,
) -> dict[str, dict[str, float]]:
    """Calibrates a model and keeps the result in its folder; returns it by level.

    Args:
      folder: A run's workdir, or a converted model.
      data: Data set.
      weights: Which weights of a run, `student` or `ema`.
      split: Split of the data set.
      most: Scenes to use, from the split's start.

    Raises:
      CalibrationError: The folder isn't that of a model, or the split has nothing that can be asked.
    """
    from scenarioclip_jax.loading import load  # it imports this package

    if not folder.is_dir():
        raise CalibrationError(f"{folder}: isn't a folder; calibrate a run or a converted model")
    if most < 1:
        raise CalibrationError(f"--scenes is {most}; it must be at least 1")
    model = load(folder, weights=weights)
    words, source = read_words(data), shards.open_split(local_copy(data), split)
    count = min(most, len(source))
    with progress_bar(total=count, desc="Asking", unit=" scenes", delay=2) as bar:

        def scenes() -> Iterable[Scene]:
            for index in range(count):
                yield source[index]
                bar.update()

        found = cases(model, scenes(), words)
    result = {level: _summary(of_level) for level, of_level in found.items() if of_level}
    if not result:
        raise CalibrationError(
            f"{data}: the first {count} scenes of {split} have no action, object or relation"
        )
    kept = read(folder) | {weights: result}
    write_text(folder / FILE, json.dumps(kept, indent=1) + "\n")
    return result


def _summary(of_level: Sequence[Case]) -> dict[str, float]:
    temperature = fit(of_level)
    return {
        "temperature": temperature,
        "cases": len(of_level),
        "error_before": calibration_error(of_level, 1.0),
        "error_after": calibration_error(of_level, temperature),
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m scenarioclip_jax.describe.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="a run's workdir, or a converted model")
    add("--data", required=True, help="data set")
    add("--weights", default="student", choices=("student", "ema"), help="of a run")
    add("--split", default="validation", choices=("train", "validation", "test"))
    add("--scenes", type=int, default=500, help="scenes to use")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(argv)
    try:
        found = calibrate(
            flags.model,
            flags.data,
            weights=flags.weights,
            split=flags.split,
            most=flags.scenes,
        )
    except (ReadableError, OSError, ValueError) as error:
        sys.exit(f"calibrate: {error}")
    for level, each in found.items():
        say(
            f"{level:>8}: temperature {each['temperature']:.3f}, error {each['error_before']:.1%} before and "
            f"{each['error_after']:.1%} after ({each['cases']:.0f} cases)"
        )
    say(f"kept in {flags.model / FILE}")


if __name__ == "__main__":
    main()
