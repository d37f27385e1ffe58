"""The models that the demo opens: one, and perhaps a second one to compare it with."""

from pathlib import Path

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.inference import Model
from scenarioclip_jax.loading import load

WEIGHTS = ("student", "ema")


class CompareError(ReadableError, ValueError):
    """There is nothing to compare a model with."""


def open_models(path: str, weights: str, compare: str | None = None) -> dict[str, Model]:
    """Opens models, by the names that people see, the one to compare with last.

    Args:
      path: The model, as for `scenarioclip_jax.load`.
      weights: `student` or `ema`.
      compare: `student` or `ema` for the same run's other weights, or another model, of which a run's student
        weights are taken; None for no second model.

    Raises:
      CompareError: Both would be the same.
      CheckpointError: One isn't there, or hasn't these weights.
    """
    model = load(path, weights=weights)
    name = Path(path).name
    if compare is None:
        return {f"{name}, {model.spec.model['arch']}": model}
    if compare == weights or (compare == path and weights == "student"):
        other = "ema" if weights == "student" else "student"
        raise CompareError(
            f"--compare={compare}: these weights are shown already; give {other}, or another model"
        )
    if compare in WEIGHTS:
        return {f"{name}, {weights}": model, f"{name}, {compare}": load(path, weights=compare)}
    second = load(compare)
    if compare == path:
        return {f"{name}, {weights}": model, f"{name}, student": second}
    other = Path(compare).name
    return {name: model, other: second} if name != other else {path: model, compare: second}
