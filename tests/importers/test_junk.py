"""Files with any one value replaced: an import ends with valid records or a message, never with a traceback."""

import json
import shutil

import hypothesis.strategies as st
import pytest
from hypothesis import given

from scenarioclip_jax.importers import command
from tests.importers import (
    made,
    test_coco,
    test_gqa,
    test_label_studio,
    test_psg,
    test_scenarioclip,
    test_visual_genome,
    test_vrd,
    test_webdataset,
)

JUNK = [
    None,
    True,
    -1,
    0,
    1e300,
    10**30,
    "",
    "x",
    "\ud800",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    ["a", None],
]


def coco(folder):
    annotation = test_coco.annotation(1, 1, [1, 1, 5, 5], segmentation=test_coco.polygon("man"))
    crowd = test_coco.annotation(
        1, 18, [1, 1, 5, 5], segmentation={"size": [240, 400], "counts": [96000]}
    )
    path = test_coco.instances(folder / "train.json", [annotation, crowd], [test_coco.image(1)])
    return path, ["coco", "--instances", path]


def panoptic(folder):
    path = test_coco.panoptic(folder)
    return path, ["coco", "--panoptic", path]


def captions(folder):
    path = test_coco.captions(folder / "c.json", [(1, "A."), (1, "B.")], [test_coco.image(1)])
    return path, ["coco", "--captions", path]


def psg(folder):
    path = test_psg.psg(folder / "psg.json", [test_psg.entry("9", relations=[[0, 1, 1]])])
    return path, ["psg", f"--psg={path}", f"--panoptic-masks={folder}"]


def gqa(folder):
    things = {n: test_gqa.thing("a", [1, 1, 9 * int(n), 9], [("on", "2")], ["b"]) for n in "12"}
    path = made.write_json(folder / "train_sceneGraphs.json", {"1": test_gqa.graph(things)})
    return path, ["gqa", "--scene-graphs", path]


def vrd(folder):
    made.write_json(folder / "objects.json", ["person", "dog"])
    made.write_json(folder / "predicates.json", ["on", "walk"])
    rows = [test_vrd.row(test_vrd.end(0, [1, 2, 3, 4]), 1, test_vrd.end(1, [5, 6, 7, 8]))]
    path = made.write_json(folder / "annotations_train.json", {"a.jpg": rows})
    return path, ["vrd", f"--annotations={folder}"]


def genome(kind):
    def write(folder):
        vg, box = test_visual_genome, [5, 5, 20, 20]
        ends = [vg.end(1, "a", box), vg.end(2, "b", [40, 40, 9, 9])]
        kinds = {
            "objects": {1: [vg.thing(1, "a", box, merged_object_ids=[3])]},
            "attributes": {1: [vg.thing(1, "a", box) | {"attributes": ["c"]}]},
            "relationships": {1: [vg.relation(1, ends[0], "on", ends[1])]},
            "regions": {1: [{"phrase": "p", "x": 0, "y": 0, "width": 400, "height": 240}]},
        }
        vg.write(folder, [vg.photo(1)], **kinds)
        return folder / f"{kind}.json", ["visual-genome", f"--annotations={folder}"]

    return write


def scenarioclip(kind):
    def write(folder):
        triplet = ["man", "walking", "dog"]
        regions = {"sam_results/a.png": {"relation": triplet, "neg_samples": [triplet[::-1]]}}
        test_scenarioclip.results(folder, regions=regions)
        test_scenarioclip.segment(folder)
        return folder / kind, ["scenarioclip", f"--results={folder}"]

    return write


def combined(folder):
    record = {
        **{"id": "1", "image_path": "a.jpg", "action": "b", "captions": ["c"], "split": "train"},
        "objects": [["man", [1, 2, 30, 40]], {"name": "dog", "box": [5, 6, 7, 8], "score": 0.5}],
        "relations": [
            ["f.jpg", ["man", "on", "dog"], [["dog", "on", "man"]], [0, 1]],
            {"subject": 0, "predicate": "by", "object": 1, "paraphrases": ["d"]},
        ],
    }
    path = made.write_json(folder / "metadata.json", {"data": [record]})
    return path, ["scenarioclip", f"--metadata={folder}"]


def label_studio(folder):
    ls = test_label_studio
    result = [
        ls.rectangle("m", "man", made.box("man"), rotation=10),
        ls.region(
            "g", "polygonlabels", {"points": [[1, 1], [9, 1], [9, 9]], "polygonlabels": ["a"]}
        ),
        ls.region("c", "choices", {"choices": ["b"]}, "action"),
        ls.relation("m", "g", ["on"]),
    ]
    path = made.write_json(
        folder / "tasks.json", [ls.task(1, "/data/local-files/?d=a.jpg", result)]
    )
    return path, ["label-studio", "--tasks", path]


SOURCES = {
    **{
        "coco": coco,
        "panoptic": panoptic,
        "captions": captions,
        "psg": psg,
        "gqa": gqa,
        "vrd": vrd,
    },
    **{"label studio": label_studio, "combined metadata": combined},
    **{
        f"visual genome {kind}": genome(kind)
        for kind in ("image_data", "objects", "attributes", "relationships", "region_descriptions")
    },
    **{
        f"scenarioclip {kind}": scenarioclip(f"{kind}.json")
        for kind in ("gemma_jsons/0001_gemma", "dino_results/0001_grounding_dino")
    },
}


def places(content, here=()):
    """All paths into a JSON value, but that of itself."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


def spoil(content, draw):
    path = draw(st.sampled_from(list(places(content))))
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if draw(st.integers(0, 4)) == 0:
        del holder[path[-1]]
    else:
        holder[path[-1]] = draw(st.sampled_from(JUNK))


def survives(folder, arguments):
    out = folder / "out"
    code = command.main([*map(str, arguments), f"--output={out}", "--overwrite"])
    assert code in (0, 1)
    assert out.exists() == (code == 0)
    if code == 0:
        found = made.Imported(out, masks_fit=False)
        assert all(json.dumps(record).encode() for record in found.records.values())
        shutil.rmtree(out)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
def test_one_value_is_replaced(tmp_path_factory, source, data):
    folder = tmp_path_factory.mktemp("junk")
    path, arguments = SOURCES[source](folder)
    content = json.loads(path.read_text())
    spoil(content, data.draw)
    path.write_text(json.dumps(content))
    survives(folder, arguments)


@given(data=st.data())
def test_a_samples_json(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("junk")
    content = json.loads(combined(folder)[0].read_text())["data"][0]
    spoil(content, data.draw)
    members = [("1.jpg", b"photo"), ("1.json", content), ("2.jpg", b"p"), ("2.txt", b"\xff\x00")]
    path = test_webdataset.write(folder / "a.tar", members)
    survives(folder, ["webdataset", "--tars", path])
