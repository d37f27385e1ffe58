"""The picture of a run's first batch: what the towers really see, with the texts they are told."""

from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.data.views import ViewSettings, centre_views, views
from scenarioclip_jax.evaluation.pictures import COLOURS, picture_grid, to_uint8

SCENES = 4
MOST = 4  # objects and relations shown of a scene


def write_first_batch(
    directory: Path | None, batch: Batch, settings: ViewSettings, tokenizer: Tokenizer
) -> None:
    """Writes DIRECTORY/first_batch.png; nothing if DIRECTORY is None.

    Args:
      batch: this process's groups, as NumPy arrays; the first group's first scenes are shown.
    """
    if directory is None:
        return
    group = jax.tree.map(lambda x: x[:1], batch)
    pictures = jax.tree.map(np.asarray, jax.jit(lambda b: views(b, settings, train=True))(group))
    rows = []
    for scene in np.flatnonzero(group.scene_mask[0])[:SCENES]:
        text = tokenizer.decode(group.scene_tokens[0, scene])
        row = [(to_uint8(pictures.scene[0, scene]), "whole scene", COLOURS["global"])]
        for level, of_level, owner, mask, tokens in (
            ("object", pictures.object, group.object_scene, group.object_mask, group.object_tokens),
            (
                "relation",
                pictures.relation,
                group.relation_scene,
                group.relation_mask,
                group.relation_tokens,
            ),
        ):
            slots = np.flatnonzero(mask[0] & (owner[0] == scene))[:MOST]
            row += [
                (to_uint8(of_level[0, slot]), tokenizer.decode(tokens[0, slot]), COLOURS[level])
                for slot in slots
            ]
        rows.append((text, row))
    figure = picture_grid(rows)
    _draw_boxes(figure, group, settings, rows)
    figure.savefig(directory / "first_batch.png", dpi=130, bbox_inches="tight")


def _draw_boxes(figure: Figure, group: Batch, settings: ViewSettings, rows) -> None:
    """Replaces the random whole view by the centre view, in which boxes are known, and draws them."""
    size = group.relation_region.shape[2]
    canvas = group.canvas.astype(np.float32) / 255
    plain = np.asarray(centre_views(canvas, group.aspect, size, settings.fit))
    columns = len(figure.axes) // len(rows)
    for row, scene in enumerate(np.flatnonzero(group.scene_mask[0])[:SCENES]):
        axis = figure.axes[row * columns + 1]
        axis.images[0].set_data(np.clip(plain[0, scene], 0, 1))
        for slot in np.flatnonzero(group.object_mask[0] & (group.object_scene[0] == scene)):
            x0, y0, x1, y1 = np.clip(group.object_box[0, slot], 0, size)
            axis.add_patch(
                Rectangle(
                    (x0 - 0.5, y0 - 0.5),
                    x1 - x0,
                    y1 - y0,
                    fill=False,
                    color=COLOURS["object"],
                    lw=1,
                )
            )
