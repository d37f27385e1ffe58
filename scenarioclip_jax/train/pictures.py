"""A figure of a run's first batch: the images that the towers really see, with their texts."""

import math
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.device.views import ViewSettings, center_views, views
from scenarioclip_jax.data.packing.choose import FINER
from scenarioclip_jax.data.packing.fill import text_tokens
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.evaluation.report.pictures import COLORS, picture_grid, to_uint8

SCENES = 4
MOST = 4  # objects and relations shown per scene


def write_first_batch(
    directory: Path | None, batch: Batch, settings: ViewSettings, tokenizer: Tokenizer
) -> None:
    """Writes DIRECTORY/first_batch.png; nothing if DIRECTORY is None.

    Args:
      batch: This process's groups, as NumPy arrays; the first scenes are shown.
    """
    if directory is None:
        return
    groups = math.ceil(SCENES / batch.scenes.mask.shape[1])
    shown = jax.tree.map(lambda x: x[:groups], batch)
    size = shown.levels["relation"].region.shape[2]

    def see(batch):
        photos = batch.canvas.astype(np.float32) / 255
        plain = center_views(photos, batch.extent, batch.photo_size, size, settings.fit)
        return views(batch, settings, train=True), plain

    pictures, plain = jax.tree.map(np.asarray, jax.jit(see)(shown))
    figure_rows, boxes = [], []
    # Scenes without a text are masked, but shown; a scene that isn't there has no extent.
    for group, scene in np.argwhere(shown.extent.all(-1))[:SCENES]:
        # The scene is shown as its center view rather than the random crop, because boxes refer to that view.
        whole = np.clip(plain[group, scene], 0, 1)
        row = [(whole, "whole scene", COLORS["global"])]
        for level in FINER:
            of_level = shown.levels[level]
            slots = np.flatnonzero(of_level.mask[group] & (of_level.scene[group] == scene))
            if level == "object":
                boxes.append(np.clip(of_level.box[group, slots], 0, size))
            row += [
                (
                    to_uint8(pictures[level][group, slot]),
                    tokenizer.decode(text_tokens(of_level, group, slot)),
                    COLORS[level],
                )
                for slot in slots[:MOST]
            ]
        text = "(no text)"
        if shown.scenes.mask[group, scene]:
            text = tokenizer.decode(text_tokens(shown.scenes, group, scene))
        figure_rows.append((text, row))
    figure = picture_grid(figure_rows)
    columns = len(figure.axes) // len(figure_rows)
    for index, of_scene in enumerate(boxes):
        _frame(figure.axes[index * columns + 1], of_scene)
    figure.savefig(directory / "first_batch.png", dpi=130, bbox_inches="tight")


def _frame(axes: Axes, boxes: np.ndarray) -> None:
    """Draws boxes, x0, y0, x1, y1 in pixels, float [N, 4], on a picture."""
    for x0, y0, x1, y1 in boxes:
        corner, width, height = (x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0
        axes.add_patch(Rectangle(corner, width, height, fill=False, color=COLORS["object"], lw=1))
