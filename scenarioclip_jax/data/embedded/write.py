"""Writes the embedded scenes in the published on-disk format, as a user's own data would look.

    DIR/metadata.json    {"data": [{id, image_path, action, dense_caption, objects, relations}, ...]}
    DIR/classes.json     {"actions": [...], "objects": [...], "relations": [...]}
    DIR/images/          one JPEG per scene
    DIR/focus/           one JPEG per relation, black except for the boxes of its two participants

Sizes and seeds are those of `embedded_params`.
"""

import json
from pathlib import Path

from PIL import Image

from scenarioclip_jax.data.embedded.scenes import EmbeddedScene, draw_scene, make_scene
from scenarioclip_jax.data.embedded.tier import TIERS
from scenarioclip_jax.data.stored.labels import relation_text

# Increase it whenever the images or their truth change: data sets built from older ones are then rebuilt.
VERSION = 1
SIZE = 96
_JPEG_QUALITY = 90


def embedded_params(
    num_scenes: int, seed: int, size: int = SIZE, tier: str = "plain"
) -> dict[str, int | str]:
    """The parameters that determine the embedded scenes; equal parameters give identical files."""
    params: dict[str, int | str] = dict(
        version=VERSION, num_scenes=num_scenes, seed=seed, size=size
    )
    # Data sets from before there were tiers don't name theirs.
    return params if tier == "plain" else params | {"tier": tier}


def write_embedded(
    directory: str | Path, num_scenes: int, seed: int, size: int = SIZE, tier: str = "plain"
) -> None:
    """Writes `num_scenes` scenes and their annotations into `directory`.

    Args:
      directory: A folder that is empty or doesn't exist yet.
      num_scenes: Number of scenes, at least 1.
      seed: Seed; equal seeds give equal scenes, and a larger `num_scenes` only adds scenes.
      size: Side of the images, in pixels, at least 64.
      tier: How hard the scenes are, one of `tier.TIERS`.

    Raises:
      FileExistsError: The folder isn't empty.
      ValueError: `num_scenes`, `size` or `tier` is impossible.
    """
    check_params(num_scenes, size, tier)
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise FileExistsError(f"{root} isn't empty: name an empty folder for the embedded scenes")
    (root / "images").mkdir()
    (root / "focus").mkdir()
    records = []
    for index in range(num_scenes):
        scene = make_scene(seed, index, size, TIERS[tier])
        record = scene_record(scene)
        picture = draw_scene(scene, seed, size)
        picture.save(root / record["image_path"], quality=_JPEG_QUALITY, subsampling=0)
        for relation, (focus_path, *_) in zip(scene.relations, record["relations"], strict=True):
            boxes = [scene.objects[end].box for end in (relation[0], relation[2])]
            focused_region(picture, boxes).save(
                root / focus_path, quality=_JPEG_QUALITY, subsampling=0
            )
        records.append(record)
    (root / "classes.json").write_text(json.dumps(_classes(records), indent=1) + "\n")
    lines = ",\n".join(json.dumps(record) for record in records)
    (root / "metadata.json").write_text('{"data": [\n' + lines + "\n]}\n")


def check_params(num_scenes: int, size: int, tier: str) -> None:
    """Raises ValueError if such scenes can't be drawn."""
    if num_scenes < 1 or size < 64:
        raise ValueError(f"need num_scenes >= 1 and size >= 64, got {num_scenes} and {size}")
    if tier not in TIERS:
        raise ValueError(f"tier is {tier!r}; it must be one of {', '.join(TIERS)}")


def scene_record(scene: EmbeddedScene) -> dict:
    """Returns a scene's entry in `metadata.json`.

    Relations name their objects; where several objects have one name, they give the objects' indices, too.
    """
    names = [placed.name for placed in scene.objects]
    ambiguous = len(set(names)) < len(names)
    return {
        "id": scene.id,
        "image_path": f"images/{scene.id}.jpg",
        "action": scene.action,
        "dense_caption": scene.dense_caption,
        "objects": [[placed.name, list(placed.box)] for placed in scene.objects],
        "relations": [
            [f"focus/{scene.id}_{i}.jpg", list(scene.triplet(relation)), [list(n) for n in false]]
            + ([[relation[0], relation[2]]] if ambiguous else [])
            for i, (relation, false) in enumerate(
                zip(scene.relations, scene.negatives, strict=True)
            )
        ],
    }


def focused_region(picture: Image.Image, boxes: list[tuple[int, int, int, int]]) -> Image.Image:
    """Returns the image, black outside the union of `boxes` (x0, y0, x1, y1, in pixels)."""
    focus = Image.new("RGB", picture.size)
    for box in boxes:
        focus.paste(picture.crop(box), box[:2])
    return focus


def _classes(records: list[dict]) -> dict[str, list[str]]:
    relations = (relation_text(triplet) for r in records for _, triplet, *_ in r["relations"])
    return {
        "actions": sorted({r["action"] for r in records}),
        "objects": sorted({name for r in records for name, _ in r["objects"]}),
        "relations": sorted(set(relations)),
    }
