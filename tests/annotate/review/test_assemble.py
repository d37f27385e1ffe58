"""`assemble` leaves out what was dropped and takes what was edited, as long as the scene is the current one."""

import gzip
import json

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.review.desk import Refused
from tests.annotate.conftest import COUNT


def records(work):
    with gzip.open(work / "dataset/metadata.jsonl.gz", "rt", encoding="utf-8") as file:
        return {record["id"]: record for record in map(json.loads, file)}


def summary(work):
    return json.loads((work / "dataset/assemble.json").read_text())


def sent(scene):
    """What the page sends of a scene that nobody touched."""
    return {
        "action": scene.get("action", ""),
        "captions": scene.get("captions", []),
        "objects": [
            {"name": thing["name"], "box": thing["box"], "from": i}
            for i, thing in enumerate(scene["objects"])
        ],
        "relations": [
            {name: each[name] for name in ("subject", "predicate", "object")} | {"from": i}
            for i, each in enumerate(scene["relations"])
        ],
    }


def decide(desk, id, action, **more):
    return desk.decide(id, desk.catalog.digest(id), action, **more)


def edit(desk, id, change, base=""):
    values = sent(desk.scene(id)["scene"])
    change(values)
    return decide(desk, id, "edit", values=values, base=base)


@pytest.mark.slow
def test_what_was_decided_is_what_is_assembled(done, desk):
    before = records(done.work)
    kept, dropped, changed = desk.catalog.ids[:3]
    decide(desk, kept, "keep")
    decide(desk, dropped, "drop")
    edit(desk, changed, lambda values: values["objects"][0].update(name="zeppelin"))
    done.run(command="assemble")
    found = records(done.work)
    assert found.keys() == before.keys() - {dropped}
    assert found[changed]["objects"][0]["name"] == "zeppelin"
    assert {id: found[id] for id in found if id != changed} == {
        id: before[id] for id in found if id != changed
    }
    assert summary(done.work)["reviews"] == {"keep": 1, "drop": 1, "edit": 1}
    assert summary(done.work)["removed"]["review_dropped"] == 1
    removed = (done.work / "dataset/removed.jsonl").read_text().splitlines()
    lines = [line for line in map(json.loads, removed) if line["filter"] == "review_dropped"]
    assert lines == [{"id": dropped, "filter": "review_dropped", "detail": "by ann"}]


def test_a_scene_that_was_made_anew_is_decided_on_again(done, desk):
    dropped = desk.catalog.ids[0]
    decide(desk, dropped, "drop")
    done.configure(negatives={"seed": 1, "count": 2})
    done.run()
    assert dropped in records(done.work)
    assert summary(done.work)["reviews"] == {"stale": 1}
    done.configure()
    done.run()
    assert dropped not in records(done.work), "the scene is the old one again"


def test_edits_count_for_the_table_of_labels_and_for_rare_ones(done, desk):
    edit(desk, desk.catalog.ids[0], lambda values: values["objects"][0].update(name="zeppelin"))
    assert main(["labels", "--output", str(done.work)]) == 0
    table = (done.work / "labels.csv").read_text()
    assert "object,zeppelin,1" in table
    done.configure(assemble={"min_count": 2})
    done.run()
    names = [thing["name"] for record in records(done.work).values() for thing in record["objects"]]
    assert "zeppelin" not in names


def test_of_near_duplicates_one_stays_even_if_the_first_was_dropped(photos):
    from scenarioclip_jax.annotate.review.desk import Desk
    from scenarioclip_jax.annotate.work import open_work

    # The same photo under two names, of which the truth knows both.
    metadata = json.loads((photos.truth / "metadata.json").read_text())
    first = metadata["data"][0]
    name = first["image_path"].removeprefix("images/")
    (photos.images / f"z-{name}").write_bytes((photos.images / name).read_bytes())
    metadata["data"].append(first | {"id": "copy", "image_path": f"images/z-{name}"})
    (photos.truth / "metadata.json").write_text(json.dumps(metadata))
    photos.configure(assemble={"duplicates": "drop", "distance": 0})
    photos.run()
    assert f"z-{name}" not in records(photos.work)
    desk = Desk(open_work(photos.work), "ann")
    decide(desk, name, "drop")
    desk.close()
    photos.run(command="assemble")
    assert name not in records(photos.work)
    assert f"z-{name}" in records(photos.work)


def test_a_photo_that_filters_left_out_gets_a_scene(photos):
    from scenarioclip_jax.annotate.review.desk import Desk
    from scenarioclip_jax.annotate.work import open_work

    photos.configure(validate={"min_relations": 3})
    photos.run()
    desk = Desk(open_work(photos.work), "ann")
    number = next(i for i, row in enumerate(desk.catalog.rows) if row.state == "left out")
    id = desk.catalog.ids[number]
    names = [{"name": name, "box": [0, 0, 30, 30], "from": None} for name in ("cat", "mat", "hat")]
    relations = [
        {"subject": a, "predicate": "on", "object": b, "from": None}
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    decide(desk, id, "edit", values={"objects": names, "relations": relations})
    desk.close()
    photos.run(command="assemble")
    assert [thing["name"] for thing in records(photos.work)[id]["objects"]] == ["cat", "mat", "hat"]
    removed = (photos.work / "dataset/removed.jsonl").read_text().splitlines()
    assert not [line for line in map(json.loads, removed) if line["id"] == id]


def test_all_dropped_is_an_error_that_keeps_what_was_assembled(done, desk, capsys):
    before = records(done.work)
    for id in desk.catalog.ids:
        decide(desk, id, "drop")
    done.run(command="assemble", code=1)
    assert f"{COUNT} left out by filters" in capsys.readouterr().err
    assert records(done.work) == before


def test_decisions_on_what_is_not_shown_are_refused(desk):
    id = desk.catalog.ids[0]
    for status, arguments in (
        (404, ("absent.jpg", "x", "keep")),
        (409, (id, "stale", "keep")),
        (409, (id, desk.catalog.digest(id), "undo")),
        (422, (id, desk.catalog.digest(id), "burn")),
        (409, (id, desk.catalog.digest(id), "edit", {}, "no such edit")),
    ):
        with pytest.raises(Refused) as caught:
            desk.decide(*arguments)
        assert caught.value.status == status
    assert desk.changes(0)["progress"]["decided"] == 0
