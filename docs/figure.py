"""Draws docs/images/scene.png, the figure of the README: one drawn scene and the texts of its three levels.

python docs/figure.py
"""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from scenarioclip_jax.data.embedded.scenes import draw_scene, make_scene
from scenarioclip_jax.data.embedded.write import focused_region
from scenarioclip_jax.data.stored.scene import relation_text

SEED, INDEX, SIZE = 0, 14, 256
COLORS = {"global": "#4461a8", "object": "#c2452d", "relation": "#2c7a4b"}
OUTPUT = Path(__file__).parent / "images" / "scene.png"
WIDTH, HEIGHT = 10.6, 4.0  # inches, as all lengths here
LEFT, BOTTOM, PHOTO = 0.1, 0.95, 2.05  # where the photo stands, and its side
VIEWS, VIEW, GAP = (
    2.5,
    0.84,
    0.06,
)  # where the views begin, the side of one, and the space between two
IMAGE_TOWER, LOSS, TEXT_TOWER, TEXTS = 5.8, 6.9, 8.0, 8.7  # where they stand


def main() -> None:
    scene = make_scene(SEED, INDEX, SIZE)
    photo = draw_scene(scene, SEED, SIZE)
    objects = scene.objects[2:]  # three are enough to show what an object is
    relations = scene.relations[:2]
    figure = plt.figure(figsize=(WIDTH, HEIGHT), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")

    show(axes, photo, LEFT, BOTTOM, PHOTO, "#444444")
    for placed in scene.objects:
        x0, y0, x1, y1 = (PHOTO * v / SIZE for v in placed.box)
        corner = (LEFT + x0, BOTTOM + PHOTO - y1)
        box = Rectangle(corner, x1 - x0, y1 - y0, fill=False, lw=1.6)
        box.set_edgecolor(COLORS["object"])
        axes.add_patch(box)
    middle = LEFT + PHOTO / 2
    axes.text(middle, BOTTOM - 0.1, "one annotated photo", ha="center", va="top", fontsize=11)

    boxes = [placed.box for placed in scene.objects]
    rows = {
        "global": [(photo, scene.action)],
        "object": [(focused_region(photo, [p.box]), p.name) for p in objects],
        "relation": [
            (focused_region(photo, [boxes[r[0]], boxes[r[2]]]), relation_text(scene.triplet(r)))
            for r in relations
        ],
    }
    for y, (level, pairs) in zip((2.88, 1.6, 0.32), rows.items(), strict=True):
        color, middle = COLORS[level], y + VIEW / 2
        arrow(axes, (LEFT + PHOTO + 0.04, BOTTOM + PHOTO / 2), (VIEWS - 0.05, middle), "#999999")
        for i, (view, _) in enumerate(pairs):
            show(axes, view, VIEWS + i * (VIEW + GAP), y, VIEW, color)
        start = VIEWS + len(pairs) * (VIEW + GAP)
        arrow(axes, (start, middle), (IMAGE_TOWER - 0.42, middle), color)
        tower(axes, IMAGE_TOWER, middle, "image\ntower", color)
        arrow(axes, (IMAGE_TOWER + 0.42, middle), (LOSS - 0.42, middle), color)
        axes.text(LOSS, middle, "contrastive\nloss", ha="center", va="center", fontsize=10)
        arrow(axes, (TEXT_TOWER - 0.42, middle), (LOSS + 0.42, middle), color)
        tower(axes, TEXT_TOWER, middle, "text\ntower", color)
        arrow(axes, (TEXTS - 0.05, middle), (TEXT_TOWER + 0.42, middle), color)
        texts = "\n".join("\n  ".join(textwrap.wrap(f"“{text}”", 25)) for _, text in pairs)
        axes.text(TEXTS, middle, texts, va="center", fontsize=10.5, linespacing=1.35)
        axes.text(VIEWS, y + VIEW + 0.07, level, color=color, fontsize=11, fontweight="bold")
    figure.savefig(OUTPUT)


def show(axes, image: Image.Image, x: float, y: float, side: float, color: str) -> None:
    axes.imshow(image, extent=(x, x + side, y, y + side), interpolation="lanczos", aspect="auto")
    axes.add_patch(Rectangle((x, y), side, side, fill=False, ec=color, lw=1.4))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))  # imshow moves them


def tower(axes, x: float, y: float, name: str, color: str) -> None:
    shape = FancyBboxPatch((x - 0.36, y - 0.3), 0.72, 0.6, boxstyle="round,pad=0.03", ec=color)
    shape.set_facecolor("#f6f6f6")
    axes.add_patch(shape)
    axes.text(x, y, name, ha="center", va="center", fontsize=10)


def arrow(axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axes.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color=color, lw=1.3))


if __name__ == "__main__":
    main()
