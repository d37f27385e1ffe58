import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data.embedded import scenes as embedded_scenes
from scenarioclip_jax.data.embedded import write as embedded
from scenarioclip_jax.data.embedded.scenes import Placed
from scenarioclip_jax.data.stored.splits import split_of

SIZE = 96


@pytest.fixture(scope="module")
def scenes():
    return [embedded_scenes.make_scene(0, index, SIZE) for index in range(1200)]


def _center(placed: Placed):
    x0, y0, x1, y1 = placed.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _overlap(a: Placed, b: Placed) -> int:
    return int((embedded_scenes.footprint(a, SIZE) & embedded_scenes.footprint(b, SIZE)).sum())


def _holds(predicate: str, subject: Placed, object_: Placed, subject_in_front: bool) -> bool:
    """The truth of a triplet in plain geometry, written without looking at the generator's rules."""
    (sx, sy), (ox, oy) = _center(subject), _center(object_)
    apart = _overlap(subject, object_) == 0
    steep = abs(sy - oy) / max(abs(sx - ox), 1e-6)
    if predicate == "inside":
        s, o = subject.box, object_.box
        nested = o[0] < s[0] and o[1] < s[1] and s[2] < o[2] and s[3] < o[3]
        return object_.shape == "ring" and nested and apart
    if predicate == "covering":
        return subject_in_front and not apart
    if predicate == "dwarfing":
        return apart and subject.side >= 1.5 * object_.side
    return (
        apart
        and {
            "left of": sx < ox and steep < 0.5,
            "above": sy < oy and steep > 2,
            "above left of": sx < ox and sy < oy and 0.5 < steep < 2,
            "above right of": sx > ox and sy < oy and 0.5 < steep < 2,
        }[predicate]
    )


@pytest.mark.slow
def test_every_relation_is_true_of_the_geometry(scenes):
    for scene in scenes:
        for subject, predicate, object_ in scene.relations:
            ends = scene.objects[subject], scene.objects[object_]
            assert _holds(predicate, *ends, subject > object_), (
                scene.id,
                subject,
                predicate,
                object_,
            )


def test_every_negative_is_false_of_the_geometry(scenes):
    kinds = Counter()
    for scene in scenes:
        index = {placed.name: i for i, placed in enumerate(scene.objects)}
        true = {scene.triplet(relation) for relation in scene.relations}
        for relation, negatives in zip(scene.relations, scene.negatives, strict=True):
            subject, predicate, object_ = scene.triplet(relation)
            assert len(negatives) >= 1
            for s, p, o in negatives:
                kinds["swapped"] += (s, p, o) == (object_, predicate, subject)
                kinds["predicate"] += (s, o) == (subject, object_) and p != predicate
                kinds["object"] += (s, p) == (subject, predicate) and o != object_
                assert (s, p, o) not in true
                if s in index and o in index:
                    ends = scene.objects[index[s]], scene.objects[index[o]]
                    assert not _holds(p, *ends, index[s] > index[o])
    assert min(kinds[kind] for kind in ("swapped", "predicate", "object")) > 1000


def test_scenes_are_varied_and_unambiguous(scenes):
    assert {scene.action for scene in scenes} == set(embedded_scenes.ACTIONS)
    assert {o.name for s in scenes for o in s.objects} == set(embedded_scenes.NAMES)
    predicates = Counter(p for scene in scenes for _, p, _ in scene.relations)
    assert set(predicates) == set(embedded_scenes.PREDICATES)
    assert min(predicates.values()) > 0.08 * predicates.total()
    for scene in scenes:
        assert 3 <= len(scene.objects) <= 6
        assert 2 <= len(scene.relations) <= 4
        assert len({placed.name for placed in scene.objects}) == len(scene.objects)
        pairs = {frozenset((s, o)) for s, _, o in scene.relations}
        assert len(pairs) == len(scene.relations)  # one predicate a pair


def test_boxes_are_tight_inside_and_show_the_objects(scenes):
    for scene in scenes[:60]:
        picture = np.asarray(embedded_scenes.draw_scene(scene, 0, SIZE))
        covered = np.zeros((SIZE, SIZE), bool)
        for placed in reversed(scene.objects):
            x0, y0, x1, y1 = placed.box
            assert 0 <= x0 < x1 <= SIZE
            assert 0 <= y0 < y1 <= SIZE
            pixels = embedded_scenes.footprint(placed, SIZE)
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == placed.box
            visible = pixels & ~covered
            assert visible.sum() >= 0.6 * pixels.sum()
            # Of all colors, the named one is what most of its pixels are closest to.
            names = [*embedded_scenes.drawing.COLORS, "outline"]
            palette = [*embedded_scenes.drawing.COLORS.values(), embedded_scenes.drawing.OUTLINE]
            distance = np.abs(picture[visible][:, None] - np.asarray(palette, float)).sum(-1)
            votes = Counter(names[i] for i in distance.argmin(-1))
            del votes["outline"]
            assert votes.most_common(1)[0][0] == placed.color, (scene.id, placed.name)
            covered |= pixels


def test_no_single_pixel_tells_the_place():
    """The corner pixel, nearest class mean: far from what the texture and the overall color tell."""
    places = embedded_scenes.PLACES
    rng = np.random.default_rng(0)
    corners = np.array(
        [
            [
                np.asarray(embedded_scenes.drawing.draw_background(p, SIZE, rng))[0, 0]
                for p in places
            ]
            for _ in range(120)
        ],
        float,
    )  # [pictures, places, 3]
    means = corners[:60].mean(0)
    guesses = np.linalg.norm(corners[60:, :, None] - means, axis=-1).argmin(-1)
    assert (guesses == np.arange(len(places))).mean() < 0.8


def test_held_out_compositions_are_in_test_only_and_their_parts_in_train(scenes):
    seen = {"train": set(), "validation": set(), "test": set()}
    named_in_negatives = set()
    for scene in scenes:
        split = split_of(scene.id)
        seen[split] |= {scene.triplet(relation) for relation in scene.relations}
        if split != "test":
            named_in_negatives |= {n for negatives in scene.negatives for n in negatives}
    held_out = {t for t in seen["test"] if embedded_scenes.is_held_out(t)}
    assert 0.05 < len(held_out) / len(seen["test"]) < 0.16
    assert not any(map(embedded_scenes.is_held_out, seen["train"] | seen["validation"]))
    assert not any(map(embedded_scenes.is_held_out, named_in_negatives))
    for part in range(3):
        assert {t[part] for t in held_out} <= {t[part] for t in seen["train"]}


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_equal_seeds_write_equal_bytes_and_more_scenes_only_add(tmp_path):
    for name, count, seed in (("a", 6, 1), ("b", 6, 1), ("more", 8, 1), ("other", 6, 2)):
        embedded.write_embedded(tmp_path / name, count, seed)
    a, b, more, other = (_files(tmp_path / n) for n in ("a", "b", "more", "other"))
    assert a == b
    images = {path: content for path, content in a.items() if path.endswith(".jpg")}
    assert images == {path: more[path] for path in images}
    assert a["images/scene_000000.jpg"] != other["images/scene_000000.jpg"]


def test_files_have_the_published_form(tmp_path):
    embedded.write_embedded(tmp_path, 5, seed=0, size=80)
    records = json.loads((tmp_path / "metadata.json").read_text())["data"]
    classes = json.loads((tmp_path / "classes.json").read_text())
    assert [record["id"] for record in records] == [f"scene_{i:06d}" for i in range(5)]
    for record in records:
        photo = Image.open(tmp_path / record["image_path"])
        assert photo.size == (80, 80)
        assert photo.mode == "RGB"
        assert record["action"] in classes["actions"]
        boxes = dict(record["objects"])
        assert record["dense_caption"].endswith(".")
        for path, (subject, predicate, object_), _ in record["relations"]:
            assert f"{subject} {predicate} {object_}" in classes["relations"]
            focus = np.asarray(Image.open(tmp_path / path).convert("L"), float)
            shown = np.zeros((80, 80), bool)
            for x0, y0, x1, y1 in (boxes[subject], boxes[object_]):
                shown[y0:y1, x0:x1] = True
            assert focus[~shown].mean() < 4
            difference = np.abs(np.asarray(photo.convert("L"), float) - focus)
            assert difference[shown].mean() < 8


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="isn't empty"):
        embedded.write_embedded(tmp_path, 1, 0)


@pytest.mark.parametrize(("count", "size"), [(0, 96), (1, 32)])
def test_impossible_parameters_are_refused(tmp_path, count, size):
    with pytest.raises(ValueError, match="num_scenes >= 1"):
        embedded.write_embedded(tmp_path, count, 0, size)
