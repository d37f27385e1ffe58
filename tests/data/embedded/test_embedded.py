import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.data.build.dataset import ensure_embedded
from scenarioclip_jax.data.embedded import scenes as embedded_scenes
from scenarioclip_jax.data.embedded import write as embedded
from scenarioclip_jax.data.embedded.placed import PREDICATES, Placed, footprint
from scenarioclip_jax.data.embedded.tier import TIERS
from scenarioclip_jax.data.stored.shards import load_summary, open_split
from scenarioclip_jax.data.stored.splits import SPLITS, split_of

SIZE = 96


@pytest.fixture(scope="module")
def scenes():
    return [embedded_scenes.make_scene(0, index, SIZE) for index in range(1200)]


@pytest.fixture(scope="module")
def hard():
    return [embedded_scenes.make_scene(0, index, SIZE, TIERS["hard"]) for index in range(300)]


@pytest.fixture(params=["plain", "hard"])
def both(request):
    """The scenes of each tier."""
    return request.getfixturevalue({"plain": "scenes", "hard": "hard"}[request.param])


OTHER_WAY = {
    "containing": "inside",
    "covered by": "covering",
    "dwarfed by": "dwarfing",
    "right of": "left of",
    "below": "above",
    "below right of": "above left of",
    "below left of": "above right of",
}


def _center(placed: Placed):
    x0, y0, x1, y1 = placed.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _overlap(a: Placed, b: Placed) -> int:
    return int((footprint(a, SIZE) & footprint(b, SIZE)).sum())


def _holds(predicate: str, subject: Placed, object_: Placed, subject_in_front: bool) -> bool:
    """The truth of a triplet in plain geometry, written without looking at the generator's rules."""
    if predicate in OTHER_WAY:
        return _holds(OTHER_WAY[predicate], object_, subject, not subject_in_front)
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
def test_every_relation_is_true_of_the_geometry(both):
    for scene in both:
        for subject, predicate, object_ in scene.relations:
            ends = scene.objects[subject], scene.objects[object_]
            assert _holds(predicate, *ends, subject > object_), (
                scene.id,
                subject,
                predicate,
                object_,
            )


def test_every_negative_is_false_of_the_geometry(both):
    kinds = Counter()
    for scene in both:
        index: dict[str, list[int]] = {}  # of the objects with a name
        for i, placed in enumerate(scene.objects):
            index.setdefault(placed.name, []).append(i)
        true = {scene.triplet(relation) for relation in scene.relations}
        for relation, negatives in zip(scene.relations, scene.negatives, strict=True):
            subject, predicate, object_ = scene.triplet(relation)
            assert len(negatives) >= 1
            for s, p, o in negatives:
                kinds["swapped"] += (s, p, o) == (object_, predicate, subject)
                kinds["predicate"] += (s, o) == (subject, object_) and p != predicate
                kinds["object"] += (s, p) == (subject, predicate) and o != object_
                assert (s, p, o) not in true
                for i, j in itertools.product(index.get(s, ()), index.get(o, ())):
                    if i != j:
                        assert not _holds(p, scene.objects[i], scene.objects[j], i > j)
    assert min(kinds[kind] for kind in ("swapped", "predicate", "object")) > 0.8 * len(both)


def test_scenes_are_varied_and_unambiguous(scenes):
    assert {scene.action for scene in scenes} == set(embedded_scenes.ACTIONS)
    assert {o.name for s in scenes for o in s.objects} == set(embedded_scenes.NAMES)
    predicates = Counter(p for scene in scenes for _, p, _ in scene.relations)
    assert set(predicates) == set(PREDICATES)
    assert min(predicates.values()) > 0.08 * predicates.total()
    for scene in scenes:
        assert 3 <= len(scene.objects) <= 6
        assert 2 <= len(scene.relations) <= 4
        assert len({placed.name for placed in scene.objects}) == len(scene.objects)
        pairs = {frozenset((s, o)) for s, _, o in scene.relations}
        assert len(pairs) == len(scene.relations)  # one predicate a pair


def test_hard_scenes_have_objects_of_one_name_and_relations_from_either_end(hard):
    predicates = Counter(p for scene in hard for _, p, _ in scene.relations)
    assert set(predicates) == {*OTHER_WAY, *OTHER_WAY.values()}
    told = sum(predicates[p] for p in OTHER_WAY)
    assert 0.45 < told / predicates.total() < 0.55
    for scene in hard:
        names = Counter(placed.name for placed in scene.objects)
        assert max(names.values()) > 1
        assert 4 <= len(scene.objects) <= 9
        assert 3 <= len(scene.relations) <= 6
        for relation in scene.relations:
            subject, predicate, object_ = scene.triplet(relation)
            assert subject != object_
            assert f"The {subject} is {predicate} the {object_}." in scene.dense_caption
        told = {scene.triplet(relation) for relation in scene.relations}
        assert scene.dense_caption.count(".") == 1 + len(told)


def test_hard_relations_say_which_of_the_objects_of_a_name_they_mean(hard):
    for scene in hard[:50]:
        record = embedded.scene_record(scene)
        for (_, (subject, _, object_), _, (i, j)), (s, _, o) in zip(
            record["relations"], scene.relations, strict=True
        ):
            assert (i, j) == (s, o)
            assert (record["objects"][i][0], record["objects"][j][0]) == (subject, object_)


def test_a_composition_is_held_out_from_both_ends(hard):
    held_out = 0
    for scene in hard:
        for subject, predicate, object_ in map(scene.triplet, scene.relations):
            one = (subject, predicate, object_)
            back = {inverse: plain for plain, inverse in OTHER_WAY.items()} | OTHER_WAY
            other = (object_, back[predicate], subject)
            assert embedded_scenes.is_held_out(one) == embedded_scenes.is_held_out(other)
            held_out += embedded_scenes.is_held_out(one)
            assert split_of(scene.id) == "test" or not embedded_scenes.is_held_out(one)
    assert held_out > 5


def test_boxes_are_tight_inside_and_show_the_objects(both):
    for scene in both[:60]:
        picture = np.asarray(embedded_scenes.draw_scene(scene, 0, SIZE))
        covered = np.zeros((SIZE, SIZE), bool)
        for placed in reversed(scene.objects):
            x0, y0, x1, y1 = placed.box
            assert 0 <= x0 < x1 <= SIZE
            assert 0 <= y0 < y1 <= SIZE
            pixels = footprint(placed, SIZE)
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


@pytest.mark.parametrize(
    ("count", "size", "tier", "said"),
    [
        (0, 96, "plain", "num_scenes >= 1"),
        (1, 32, "plain", "size >= 64"),
        (1, 96, "tricky", "tier is 'tricky'; it must be one of plain, hard"),
    ],
)
def test_impossible_parameters_are_refused(tmp_path, count, size, tier, said):
    with pytest.raises(ValueError, match=said):
        embedded.write_embedded(tmp_path / "new", count, 0, size, tier)
    assert not (tmp_path / "new").exists()


def test_hard_scenes_can_be_built(tmp_path):
    ensure_embedded(tmp_path, 12, 0, tier="hard", progress=False)
    summary = load_summary(tmp_path)
    assert summary["source"]["embedded"]["tier"] == "hard"
    assert not summary["problems"], summary["problems"]
    found = [scene for split in SPLITS for scene in open_split(tmp_path, split)]
    assert len(found) == 12
    for scene in found:
        made = embedded_scenes.make_scene(0, int(scene.id[-6:]), SIZE, TIERS["hard"])
        assert [relation.pair for relation in scene.relations] == [
            (subject, object_) for subject, _, object_ in made.relations
        ]


def test_data_sets_from_before_there_were_tiers_are_plain():
    assert "tier" not in embedded.embedded_params(5, 0)
    assert embedded.embedded_params(5, 0, tier="hard")["tier"] == "hard"
