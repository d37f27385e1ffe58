"""Draws everything that is known about a photo: boxes, masks, relations, texts, what was left out and why."""

import posixpath
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from scenarioclip_jax.annotate.chain import DONE, FAILED, Chain, Link
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.results import Mask
from scenarioclip_jax.annotate.stages.detect import detections_of
from scenarioclip_jax.annotate.stages.negatives import facts_of
from scenarioclip_jax.annotate.stages.segment import masks_of
from scenarioclip_jax.annotate.stages.verify import verdicts_of
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.data.build import coco_masks
from scenarioclip_jax.data.build.records import MaskRecord
from scenarioclip_jax.drawing import COLORS, draw_arrow, draw_box, list_beside, show_photo
from scenarioclip_jax.files import whole

FOLDER = "shown"
_WIDE = 58  # characters of a line of text
_COLUMNS, _ROW, _MOST_REGIONS = 4, 1.75, 12  # of the focused regions; a row's height in inches


def draw(work: Work, id: str, to: Path | None = None) -> Path:
    """Draws a photo and what the stages made of it; returns the picture's path.

    Raises:
      WorkError: There is no such photo.
    """
    chain = Chain(work)
    id = posixpath.normpath(id)  # people write ./a.jpg
    try:
        entry = chain.listing.find(id)
        if entry is None:
            raise WorkError(
                f"{id}: isn't among the listed photos of {work.images}; give its path in that folder"
            )
        if not entry.done:
            failure = chain.listing.records.read(entry)["failure"]
            raise WorkError(f"{id}: can't be read ({failure['kind']}: {failure['detail']})")
        links = chain.follow(id, entry)
        outputs = chain.outputs(links)
        picture = chain.listing.photo(id, entry).open()
        action = chain.listing.source(id).get("action", "")
        text = told(outputs, picture.size, action, _states(chain, links))
        figure = _figure(id, picture, outputs, text)
    finally:
        chain.close()
    file = to or work.folder / FOLDER / f"{id.replace('/', '_')}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as unfinished:
        figure.savefig(unfinished, format="png", dpi=110)
    return file


def _states(chain: Chain, links: dict[str, Link]) -> list[str]:
    """A line for each stage that has no result."""
    lines = []
    for name, link in links.items():
        if link.state == FAILED and link.entry:
            failure = chain.records[name].read(link.entry)["failure"]
            lines.append(f"{name} failed ({failure['kind']}): {failure['detail'][:200]}")
        elif link.state != DONE:
            lines.append(f"{name}: {link.state}")
    return lines


def _figure(id: str, picture: Image.Image, outputs: dict[str, Any], text: str) -> Figure:
    width, height = picture.size
    photo_height = min(8.0, 8.0 * height / width)  # inches
    regions = _regions(picture, outputs)
    rows = -(-len(regions) // _COLUMNS)
    beneath = rows * _ROW + (0.3 if rows else 0)
    tall = max(photo_height + beneath + 0.6, 0.175 * (text.count("\n") + 1) + 0.4)
    figure = Figure(figsize=(14, tall), facecolor="white")
    axes = figure.add_axes((0.01, 1 - (photo_height + 0.45) / tall, 0.56, photo_height / tall))
    show_photo(axes, picture)
    axes.set_anchor("NW")
    _draw_objects(axes, picture, outputs)
    for number, (title, region) in enumerate(regions):
        row, column = divmod(number, _COLUMNS)
        top = photo_height + 0.75 + row * _ROW
        place = (0.01 + column * 0.14, 1 - (top + _ROW - 0.35) / tall, 0.135, (_ROW - 0.4) / tall)
        small = figure.add_axes(place)
        small.imshow(region)
        small.set_axis_off()
        lines = textwrap.wrap(title, 28, max_lines=2, placeholder=" …")
        small.set_title("\n".join(lines), fontsize=7.5, parse_math=False)
    figure.text(0.01, 1 - 0.3 / tall, id, fontsize=11, fontweight="bold", parse_math=False)
    list_beside(figure, 0.585, 1 - 0.2 / tall, text)
    return figure


def _regions(picture: Image.Image, outputs: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """The focused region of each relation with its text: masks or boxes of its ends, black around them."""
    if "segment" not in outputs or "regions" not in outputs:
        return []
    boxes, masks = detections_of(outputs["detect"]), masks_of(outputs["segment"])
    objects, found = outputs["regions"]["objects"], []
    for relation in outputs["regions"]["relations"][:_MOST_REGIONS]:
        shown = np.zeros((picture.height, picture.width), bool)
        for end in ("subject", "object"):
            number = objects[relation[end]]["box"]
            if masks:
                shown |= _pixels(masks[number])
            else:
                x0, y0, x1, y1 = (round(value) for value in boxes[number].box)
                shown[y0:y1, x0:x1] = True
        names = [objects[relation[end]]["name"] for end in ("subject", "object")]
        title = f"{names[0]} {relation['predicate']} {names[1]}"
        found.append((title, np.asarray(picture) * shown[..., None]))
    return found


def _pixels(mask: Mask) -> np.ndarray:
    return coco_masks.decode(MaskRecord(mask.size[1], mask.size[0], mask.counts))


def _draw_objects(axes: Any, picture: Image.Image, outputs: dict[str, Any]) -> None:
    if "detect" not in outputs:
        return
    boxes = detections_of(outputs["detect"])
    regions = outputs.get("regions") or {"objects": [], "relations": []}
    names = {each["box"]: each["name"] for each in regions["objects"]}
    masks = masks_of(outputs["segment"]) if "segment" in outputs else []
    for number, found in enumerate(boxes):
        color = COLORS[number % len(COLORS)]
        used = number in names
        if masks and used:
            _tint(axes, picture, masks[number], color)
        label = f"{number} {names.get(number, found.name)} {found.score:.2f}"
        draw_box(axes, found.box, label, color, picture.height, dotted=not used)
    for relation in regions["relations"]:
        ends = [regions["objects"][relation[end]]["box"] for end in ("subject", "object")]
        draw_arrow(axes, boxes[ends[0]].box, boxes[ends[1]].box, relation["predicate"])


def _tint(axes: Any, picture: Image.Image, mask: Mask, color: str) -> None:
    inside = _pixels(mask)
    tint = np.zeros((*inside.shape, 4))
    tint[..., :3] = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    tint[..., 3] = 0.35 * inside
    axes.imshow(tint, extent=(0, picture.width, picture.height, 0))


def told(
    outputs: dict[str, Any], size: tuple[int, int], action: str = "", states: Sequence[str] = ()
) -> str:
    """What is known of a photo, as lines of text.

    Args:
      outputs: What the stages made of it, by stage.
      size: Width and height of the photo, in pixels.
      action: The action of its video's folder, which `assemble` takes in place of the captioner's; or empty.
      states: Lines about the stages that have no result.
    """
    text = _Text()
    for state in states:
        text.add(state)
    if caption := outputs.get("caption"):
        said = caption["action"] or "(none)"
        folder = f"{action} (of the video's folder; the captioner says: {said})"
        text.add(f"ACTION {folder if action else said}")
        text.add(f"CAPTION {caption['caption'] or '(none)'}")
        text.add(f"NAMED {', '.join(caption['objects'])}")
    if "regions" in outputs:
        _add_relations(text, outputs, size)
    removed = (outputs.get("validate") or {}).get("removed")
    if removed:
        text.add("")
        text.add("LEFT OUT")
        for name, detail in removed:
            text.add(f"{name}: {detail}", 1)
    return "\n".join(text.lines)


class _Text:
    """Lines that aren't too long."""

    def __init__(self):
        self.lines: list[str] = []

    def add(self, text: str, indent: int = 0) -> None:
        first, later = " " * indent, " " * (indent + 2)
        lines = textwrap.wrap(text, _WIDE, initial_indent=first, subsequent_indent=later)
        self.lines.extend(lines or [""])


def _add_relations(text: _Text, outputs: dict[str, Any], size: tuple[int, int]) -> None:
    """The relations with their negatives, what refutes each of these, and their paraphrases."""
    regions, facts = outputs["regions"], facts_of(outputs.__getitem__, size)
    made = outputs.get("verify") or outputs.get("negatives") or {}
    more = made.get("relations") or [{}] * len(regions["relations"])
    verdicts = verdicts_of(outputs["verify"]) if "verify" in outputs else {}

    text.add("")
    text.add("RELATIONS")
    for relation, texts in zip(regions["relations"], more, strict=True):
        ends = [facts.objects[relation[end]] for end in ("subject", "object")]
        text.add(f"{ends[0]} {relation['predicate']} {ends[1]}", 1)
        for subject, predicate, object_, kind in texts.get("negatives", ()):
            triplet = (subject, predicate, object_)
            by, verdict = list(facts.why_false(triplet)), verdicts.get(triplet)
            by += ["verifier"] if verdict == "false" else []
            doubt = f"; verifier: {verdict}" if verdict not in (None, "false") else ""
            told_by = " and ".join(by) or "nothing"
            text.add(f"not ({kind}, by {told_by}{doubt}): {' '.join(triplet)}", 4)
        for subject, predicate, object_ in texts.get("paraphrases", ()):
            triplet = (subject, predicate, object_)
            verdict = verdicts.get(triplet)
            doubt = f" (verifier: {verdict})" if verdict not in (None, "true") else ""
            text.add(f"also{doubt}: {' '.join(triplet)}", 4)
