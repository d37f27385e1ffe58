"""What the last step does with all scenes together: near-duplicates, rare labels, filters, the summary."""

import json
import shutil

import pytest
from PIL import Image

from scenarioclip_jax.annotate.command import main
from tests.annotate.test_pipeline import scenes


@pytest.fixture
def twins(photos):
    """One photo is there twice, once smaller; both have annotations."""
    first = photos.images / "scene_000000.jpg"
    with Image.open(first) as picture:
        picture.resize((88, 88)).save(photos.images / "twin.jpg", quality=80)
    file = photos.truth / "metadata.json"
    content = json.loads(file.read_text())
    record = next(r for r in content["data"] if r["image_path"].endswith(first.name))
    objects = [[name, [c * 88 / 96 for c in box]] for name, box in record["objects"]]
    for relation in record["relations"]:
        shutil.copy(
            photos.truth / relation[0], photos.truth / f"twin_{relation[0].rsplit('/')[-1]}"
        )
    twin = {"id": "twin", "image_path": "images/twin.jpg", "objects": objects}
    content["data"].append(record | twin)
    file.write_text(json.dumps(content))
    return photos


def test_near_duplicates_are_one_group_one_scene_or_two(twins):
    twins.run()
    groups = {id: scene.get("group") for id, scene in scenes(twins.work).items()}
    pair = {"scene_000000.jpg", "twin.jpg"}
    assert {id for id, group in groups.items() if group} == pair
    assert {groups[id] for id in pair} == {"scene_000000.jpg"}
    twins.configure(assemble={"duplicates": "drop"})
    twins.run()
    assert "twin.jpg" not in scenes(twins.work)
    assert "scene_000000.jpg" in scenes(twins.work)
    removed = [json.loads(line) for line in (twins.work / "dataset/removed.jsonl").open()]
    assert removed == [{"id": "twin.jpg", "filter": "near_duplicate", "detail": "scene_000000.jpg"}]
    twins.configure(assemble={"duplicates": "keep"})
    twins.run()
    assert not any("group" in scene for scene in scenes(twins.work).values())


def test_rare_labels_are_left_out_and_counted(photos):
    photos.run()
    before = scenes(photos.work)
    counts = {}
    for scene in before.values():
        for thing in scene["objects"]:
            counts[thing["name"]] = counts.get(thing["name"], 0) + 1
    photos.configure(assemble={"min_count": 4}, validate={"min_objects": 2})
    photos.run()
    after = scenes(photos.work)
    assert {thing["name"] for scene in after.values() for thing in scene["objects"]} == {
        name for name, count in counts.items() if count >= 4
    }
    assert min(len(scene["objects"]) for scene in after.values()) == 2
    summary = json.loads((photos.work / "dataset/assemble.json").read_text())
    assert summary["removed"]["label_rare"] > 0
    assert summary["removed"]["scene_few_labels"] == len(before) - len(after)
    assert summary["missing"] == {"left out by filters": len(before) - len(after)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value", "passes"),
    [
        ("min_score", 0.75, lambda box, score: score >= 0.75),
        ("min_area", 0.06, lambda box, score: area(box) >= 0.06),
        ("max_area", 0.06, lambda box, score: area(box) <= 0.06),
        ("max_aspect", 1.05, lambda box, score: aspect(box) <= 1.05),
    ],
)
def test_filters_leave_out_what_they_name(photos, setting, value, passes):
    photos.run()
    before = scenes(photos.work)
    photos.configure(validate={setting: value, "min_objects": 0})
    photos.run()
    after = scenes(photos.work)
    lost = 0
    for id, scene in before.items():
        kept = [t["name"] for t in scene["objects"] if passes(t["box"], t["score"])]
        assert [t["name"] for t in after[id]["objects"]] == kept
        names = [t["name"] for t in scene["objects"]]
        ends = [(names[r["subject"]], names[r["object"]]) for r in scene["relations"]]
        assert len(after[id]["relations"]) == sum(set(pair) <= set(kept) for pair in ends)
        lost += len(names) - len(kept)
    assert lost > 10
    summary = json.loads((photos.work / "dataset/assemble.json").read_text())
    assert sum(n for what, n in summary["removed"].items() if what.startswith("object_")) == lost


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1]) / 96**2


def aspect(box):
    sides = box[2] - box[0], box[3] - box[1]
    return max(sides) / min(sides)


def test_the_table_of_labels_holds_in_the_data_set(photos, capsys):
    photos.run()
    name = next(iter(scenes(photos.work).values()))["objects"][0]["name"]
    assert main(["labels", "--output", str(photos.work)]) == 0
    file = photos.work / "labels.csv"
    lines = [
        line.replace(",,", ",thing,", 1) if line.startswith(f"object,{name},") else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")
    photos.run(command="assemble")
    names = {thing["name"] for scene in scenes(photos.work).values() for thing in scene["objects"]}
    assert "thing" in names
    assert name not in names
