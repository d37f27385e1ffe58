"""The temperatures that are kept with a model, in `calibration.json`; `describe.calibrate` finds them."""

import json
from pathlib import Path

from scenarioclip_jax.errors import ReadableError

FILE = "calibration.json"
LEAST, MOST = 0.01, 100.0  # temperatures


class CalibrationError(ReadableError, ValueError):
    """A model can't be calibrated, or what was kept with it can't be read."""


def read(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """What is kept with a model, by weights and level; empty if nothing is.

    Raises:
      CalibrationError: The file can't be read.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        for of_weights in kept.values():
            for of_level in of_weights.values():
                if not LEAST <= of_level["temperature"] <= MOST:
                    raise ValueError(f"temperature {of_level['temperature']}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(
            f"{path}: isn't what calibrate wrote ({error}); remove it, or calibrate again"
        ) from None
    return kept


def temperatures(folder: Path, weights: str) -> dict[str, float]:
    """The temperatures of a model's weights by level; empty if it isn't calibrated."""
    return {level: each["temperature"] for level, each in read(folder).get(weights, {}).items()}
