"""How often the builder takes right focused regions for wrong ones, and wrong ones for right.

    python -m benchmarks.focus_checks --json FILE [--roots DIR ...] [--scenes 40] [--seed 0]

Every relation's focused region is made anew from its photo: right ones with each treatment of the surroundings,
and wrong ones: the same region of another photo, and the whole photo, changed as tools change pictures. Photos
are those of the embedded scenes, drawn ones with texture, and those of data roots in the published format: by
day, at night, and with everything but the objects made white.
"""

import argparse
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from scenarioclip_jax.data.build.focus import FocusFit, fit_focus
from scenarioclip_jax.data.embedded.scenes import draw_scene, make_scene

Box = tuple[int, int, int, int]
_WRONG = ("unlike", "photo", "empty")  # all are rebuilt from the boxes
_ROOM = 0.6  # boxes that cover more leave little to set off


class Scene(NamedTuple):
    photo: Image.Image
    boxes: list[Box]
    pairs: list[tuple[int, int]]


def embedded(count: int, seed: int) -> list[Scene]:
    """The embedded scenes, 192 pixels wide."""
    found = []
    for index in range(count):
        scene = make_scene(seed, index, 192)
        boxes = [tuple(map(int, placed.box)) for placed in scene.objects]
        pairs = [(relation[0], relation[2]) for relation in scene.relations]
        found.append(Scene(draw_scene(scene, seed, 192), boxes, pairs[:2]))
    return found


def textured(count: int, seed: int) -> list[Scene]:
    """Smooth grounds with grain, and ellipses with stripes of other colors."""
    found = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        size = [(320, 240), (240, 320), (480, 320)][index % 3]
        coarse = Image.fromarray(rng.integers(30, 225, (6, 8, 3), np.uint8))
        pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), float)
        picture = Image.fromarray(_grained(pixels, rng))
        boxes = []
        for _ in range(4):
            sides = [int(n * rng.uniform(0.15, 0.4)) for n in size]
            x, y = (int(rng.integers(0, n - s)) for n, s in zip(size, sides, strict=True))
            box = (x, y, x + sides[0], y + sides[1])
            ramp = np.mgrid[: size[1], : size[0]]
            wave = np.sin((ramp[0] * rng.uniform(-1, 1) + ramp[1] * rng.uniform(-1, 1)) / 2.5)
            ground = rng.integers(20, 235, 3) + wave[..., None] * rng.uniform(-60, 60, 3)
            picture.paste(Image.fromarray(_grained(ground, rng)), (0, 0), _ellipses(size, [box]))
            boxes.append(box)
        found.append(Scene(picture, boxes, [(0, 1), (2, 3)]))
    return found


def published(root: Path) -> list[Scene]:
    """The photos and boxes of a data root in the published format."""
    found = []
    for record in json.loads((root / "metadata.json").read_text())["data"]:
        names = [name for name, _ in record["objects"]]
        boxes = [tuple(map(int, box)) for _, box in record["objects"]]
        pairs = [(names.index(t[0]), names.index(t[2])) for _, t, *_ in record["relations"]]
        photo = Image.open(root / record["image_path"]).convert("RGB")
        found.append(Scene(photo, boxes, pairs))
    return found


def _grained(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.normal(0, 8, pixels.shape[:2])[..., None]
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def _ellipses(size: tuple[int, int], boxes: Sequence[Box]) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        ImageDraw.Draw(mask).ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask


def _rectangles(size: tuple[int, int], boxes: Sequence[Box]) -> Image.Image:
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


LIGHTS: dict[str, Callable[[Scene], Image.Image]] = {
    "day": lambda scene: scene.photo,
    "night": lambda scene: scene.photo.point(lambda value: int(value * 0.1)),
    "white background": lambda scene: Image.composite(
        scene.photo,
        Image.new("RGB", scene.photo.size, "white"),
        _ellipses(scene.photo.size, scene.boxes),
    ),
}
AROUND: dict[str, Callable[[Image.Image], Image.Image]] = {
    "black": lambda photo: Image.new("RGB", photo.size),
    "white": lambda photo: Image.new("RGB", photo.size, "white"),
    "gray": lambda photo: Image.new("RGB", photo.size, (128, 128, 128)),
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(max(photo.size) / 80)),
    "dimmed": lambda photo: photo.point(lambda value: int(value * 0.35)),
    "colorless": lambda photo: photo.convert("L").convert("RGB"),
}


def _trimmed(share: float) -> Callable[[Image.Image], Image.Image]:
    def trim(photo: Image.Image) -> Image.Image:
        width, height = photo.size
        box = (width * share, height * share, width * (1 - share / 2), height * (1 - share / 2))
        return photo.crop(tuple(map(round, box))).resize(photo.size, Image.Resampling.BICUBIC)

    return trim


def _shifted(share: float) -> Callable[[Image.Image], Image.Image]:
    def shift(photo: Image.Image) -> Image.Image:
        across, down = round(photo.width * share), round(photo.height * share / 2)
        moved = photo.copy()
        moved.paste(photo, (across, down))
        return moved

    return shift


WHOLE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda photo: photo,
    "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "JPEG 15": lambda photo: saved(photo, 15),
    "gamma 0.6": lambda photo: photo.point(lambda value: round(255 * (value / 255) ** 0.6)),
    "gamma 1.7": lambda photo: photo.point(lambda value: round(255 * (value / 255) ** 1.7)),
    "brighter": lambda photo: photo.point(lambda value: value * 1.35),
    "darker": lambda photo: photo.point(lambda value: value * 0.55),
    "contrast 0.5": lambda photo: ImageEnhance.Contrast(photo).enhance(0.5),
    "contrast 1.6": lambda photo: ImageEnhance.Contrast(photo).enhance(1.6),
    "gray": lambda photo: photo.convert("L").convert("RGB"),
    "trimmed by 1.5%": _trimmed(0.01),
    "trimmed by 7%": _trimmed(0.05),
    "cut to 92% x 97%": lambda photo: photo.crop(
        (round(photo.width * 0.04), 0, round(photo.width * 0.96), round(photo.height * 0.97))
    ),
    "shifted by 0.7%": _shifted(0.007),
    "shifted by 4%": _shifted(0.04),
}


def saved(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _right(photo: Image.Image, pair: Sequence[Box]) -> Iterator[tuple[str, Image.Image]]:
    """Focused regions of a photo, by what was done around them."""
    for style, around in AROUND.items():
        for shape in (_rectangles, _ellipses):
            focus = Image.composite(photo, around(photo), shape(photo.size, pair))
            for quality in (75, 92):
                yield style, saved(focus, quality)
        yield f"{style}, half the size", saved(focus.resize([n // 2 for n in focus.size]), 90)
    x0, y0, x1, y1 = (min(pair[0][0], pair[1][0]), min(pair[0][1], pair[1][1]), *_far(pair))
    cut = photo.crop((x0, y0, x1, y1))
    yield "crop", saved(cut, 85)
    yield "crop, twice the size", saved(cut.resize((cut.width * 2, cut.height * 2)), 85)


def _far(pair: Sequence[Box]) -> tuple[int, int]:
    return max(pair[0][2], pair[1][2]), max(pair[0][3], pair[1][3])


def _nothing_gone(photo: Image.Image, focus: Image.Image) -> bool:
    """Whether a region is the whole picture, as where all that lies outside was white and is."""
    changed = np.abs(np.asarray(photo, int) - np.asarray(focus, int)).max(-1) > 0.25 * _level(photo)
    return bool(changed.mean() < 0.01)


def _level(photo: Image.Image) -> float:
    return float(np.quantile(np.asarray(photo), 0.95))


def measure(scenes: Sequence[Scene], light: str) -> dict[str, list[int]]:
    """Counts [alarms, regions] for right regions and [catches, regions] for wrong ones, by kind."""
    counts: dict[str, list[int]] = {}

    def count(name: str, fit: FocusFit, kinds: Sequence[str]) -> None:
        found = counts.setdefault(name, [0, 0])
        found[0] += fit.kind in kinds
        found[1] += 1

    for index, scene in enumerate(scenes):
        photo = LIGHTS[light](scene)
        other = scenes[(index + 1) % len(scenes)]
        foreign = LIGHTS[light](other).resize(photo.size)
        scale = np.array(photo.size * 2) / np.array(other.photo.size * 2)
        for number, ends in enumerate(scene.pairs):
            pair = tuple(scene.boxes[end] for end in ends)
            covered = np.asarray(_rectangles(photo.size, pair)) > 0
            if covered.mean() > _ROOM:
                continue
            for name, focus in _right(photo, pair):
                if focus.size == photo.size and _nothing_gone(photo, focus):
                    continue
                count(f"right: {name}", fit_focus(photo, focus, [pair]), _WRONG)
            own = [other.boxes[end] for end in other.pairs[number % len(other.pairs)]]
            own = [tuple(np.array(box * scale, int).tolist()) for box in own]
            for style, around in AROUND.items():
                for boxes, shape in ((pair, _rectangles), (pair, _ellipses), (own, _rectangles)):
                    focus = Image.composite(foreign, around(foreign), shape(photo.size, boxes))
                    fit = fit_focus(photo, saved(focus, 88), [pair])
                    count(f"foreign: {style}", fit, _WRONG)
            cut = foreign.crop((own[0][0], own[0][1], own[0][2] + 1, own[0][3] + 1))
            count("foreign: crop", fit_focus(photo, saved(cut, 88), [pair]), _WRONG)
            count("foreign: whole", fit_focus(photo, saved(foreign, 88), [pair]), _WRONG)
            for name, change in WHOLE.items():
                fit = fit_focus(photo, saved(change(photo), 88), [pair])
                count(f"whole: {name}", fit, _WRONG)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--roots", nargs="*", default=[], help="data roots in the published format")
    parser.add_argument("--scenes", type=int, default=40, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sources = {
        "embedded": embedded(args.scenes, args.seed),
        "textured": textured(args.scenes, args.seed),
    }
    if args.roots:
        found = [scene for root in args.roots for scene in published(Path(root))]
        sources["roots"] = found[:: max(1, -(-len(found) // args.scenes))]
    results: dict[str, dict[str, list[int]]] = {}
    for source, scenes in sources.items():
        for light in LIGHTS:
            start = time.process_time()
            counts = results[f"{source}, {light}"] = measure(scenes, light)
            spent = (time.process_time() - start) / sum(found[1] for found in counts.values())
            totals: Counter[str] = Counter()
            for name, (hits, regions) in counts.items():
                kind = name.partition(":")[0]
                totals[kind] += hits
                totals[f"{kind} of"] += regions
            print(
                f"{source}, {light}: "
                + ", ".join(
                    f"{k} {totals[k]}/{totals[k + ' of']}" for k in ("right", "foreign", "whole")
                )
                + f" ({1e3 * spent:.1f} ms each)",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
