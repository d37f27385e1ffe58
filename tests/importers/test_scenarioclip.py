"""The authors' folders of results and their combined metadata, with all that is odd in them."""

import json

import numpy as np

from scenarioclip_jax.importers import masks
from tests.importers import made

ANSWER = {
    "action": "walking a dog",
    "objects": ["man", "dog", "leash", "dog house"],
    "relations": [
        ["man", "walking", "dog"],
        ["dog", "on", "leash"],  # not detected
        ["man", "near"],
        ["man", "walks", "dog", "fast"],
        ["dog", "left of", "dog"],
    ],
    "dense caption": "A man walks his dog.",
}


def results(root, id="0001", response=ANSWER, regions=None, boxes=None, image=None):
    content = {"image": image or f"/data/coco/train2017/{id}.jpg", "response": response}
    if regions:
        content["focused_regions"] = regions
    made.write_json(root / f"gemma_jsons/{id}_gemma.json", content)
    found = boxes or {
        "labels": ["man", "dog", "dog", "dog house", "dog man"],
        # The first dog is further from the man than the second.
        "boxes": [made.box("man"), made.box("grass"), made.box("dog"), [0, 0, 0, 9], [1, 1, 9, 9]],
        "scores": [0.9, 0.8, 0.7, 0.6, 0.5],
    }
    made.write_json(
        root / f"dino_results/{id}_grounding_dino.json", found | {"img_file": f"{id}.jpg"}
    )
    return root


def segment(root, id="0001"):
    """Five masks, padded to seven."""
    shown = np.zeros((7, 1, *made.SIZE[::-1]), bool)
    for position, name in enumerate(("man", "grass", "dog")):
        shown[position, 0] = made.mask(name)
    shown[4, 0, 1:9, 1:9] = True
    path = root / f"sam_results/{id}_grounding_sam.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, mask=shown, score=np.ones(7), labels=np.array(["man"] * 7), box_mask=np.ones(7))


def test_every_trap(tmp_path):
    root = tmp_path / "results"
    photo = made.photo(tmp_path / "photos/train2017/0001.jpg")
    negatives = [
        ["dog", "walking", "man"],
        ["man", "riding", "dog"],
        ["man", "walking", "leash"],
        ["cat", "walking", "dog"],
        ["cat", "on", "sofa"],
        ["man", "walking", "dog"],  # true
        ["man", "walking"],
        ["man", "riding", "dog"],
    ]
    regions = {
        "/data/out/sam_results/0001/0001_relations_0.png": {
            **{
                "labels": ["man", "dog"],
                "relation": ["man", "walking", "dog"],
                "neg_samples": negatives,
            }
        },
        "sam_results/0001/0001_relations_1.png": {
            **{"labels": ["man", "dog house"], "relation": ["man", "near", "dog house"]}
        },
    }
    results(root, regions=regions)
    segment(root)
    made.photo(root / "sam_results/0001/0001_relations_0.png")
    fenced = f"Here it is:\n```json\n{json.dumps(ANSWER | {'dense_caption': 'x'})}\n```"
    results(root, "0002", fenced)
    results(
        root,
        "0003",
        "```json\n{'action': ",
        boxes={"labels": ["man"], "boxes": [[1, 1, 5, 5]], "scores": [1]},
    )
    (root / "dino_results/0002_grounding_dino.json").unlink()
    made.write_json(root / "dino_results/0009_grounding_dino.json", {})
    found = made.run(
        *("scenarioclip", tmp_path / "out", f"--results={root}", f"--images={tmp_path / 'photos'}")
    )
    record = found.records["0001"]
    assert record["image_path"] == "train2017/0001.jpg"
    assert (record["width"], record["height"]) == made.SIZE
    assert record["action"] == "walking a dog"
    assert record["captions"] == ["A man walks his dog."]
    assert made.names(record) == ["man", "dog", "dog", "dog man"]
    assert [thing["score"] for thing in record["objects"]] == [0.9, 0.8, 0.7, 0.5]
    assert np.array_equal(masks.to_array(record["objects"][2]["mask"]), made.mask("dog"))
    shown = {"objects": [record["objects"][0], record["objects"][2]]}
    made.assert_boxes_fit(shown, photo, {"man": "man", "dog": "dog"})
    walking, left = record["relations"]
    assert (walking["subject"], walking["predicate"], walking["object"]) == (0, "walking", 2)
    assert walking["focus"] == "sam_results/0001/0001_relations_0.png"
    assert walking["negatives"] == [
        ["dog", "walking", "man", "swapped"],
        ["man", "riding", "dog", "predicate"],
        ["man", "walking", "leash", "object"],
        ["cat", "walking", "dog", "subject"],
        ["cat", "on", "sofa", "other"],
    ]
    assert (left["subject"], left["object"]) == (1, 2)
    assert found.records["0002"]["captions"] == ["A man walks his dog."]
    assert "objects" not in found.records["0002"]
    assert found.records["0003"]["objects"] == [{"name": "man", "box": [1, 1, 5, 5], "score": 1}]
    assert found.reasons() == {
        "empty_box": 1,
        "label_not_asked_for": 1,
        "missing_focus": 1,
        "true_negative": 1,
        "broken_negative": 1,
        "broken_relation": 4,
        "unknown_participant": 5,
        "undetected_object": 5,
        "unreadable_answer": 1,
        "no_boxes": 1,
        "no_answer": 1,
        "photo_not_found": 2,
    }
    assert found.summary["build_flags"] == [f"--images={root}"]


def test_frames_of_a_video_stay_together(tmp_path):
    for number in (1, 2):
        results(tmp_path / "r", f"a_{number}", image=f"walking/video 7/{number}.png")
    found = made.run("scenarioclip", tmp_path / "out", f"--results={tmp_path / 'r'}", "--frames")
    assert {record["group"] for record in found.records.values()} == {"walking/video 7"}
    assert found.records["a_1"]["image_path"] == "walking/video 7/1.png"


def test_combined_metadata(tmp_path):
    record = {
        "id": "0001",
        "image_path": "images/0001.jpg",
        "action": "walking",
        "dense_caption": "A walk.",
        "objects": [["man", made.box("man")], ["dog", made.box("grass")], ["dog", made.box("dog")]],
        "relations": [
            ["focus/1.jpg", ["man", "walking", "dog"], [["dog", "walking", "man"]]],
            ["focus/2.jpg", ["man", "near", "tree"], []],
        ],
    }
    made.write_json(tmp_path / "in/metadata.json", {"data": [record]})
    found = made.run("scenarioclip", tmp_path / "out", f"--metadata={tmp_path / 'in'}")
    assert found.one()["relations"] == [
        {
            **{"subject": 0, "predicate": "walking", "object": 2, "focus": "focus/1.jpg"},
            "negatives": [["dog", "walking", "man", "swapped"]],
        }
    ]
    assert found.reasons() == {"unknown_participant": 1}


def test_masks_that_need_pickle_are_not_read(tmp_path):
    """A pickle could run anything."""
    results(tmp_path / "r")
    path = tmp_path / "r/sam_results/0001_grounding_sam.npz"
    path.parent.mkdir()
    np.savez(path, mask=np.array([None], dtype=object))
    found = made.run("scenarioclip", tmp_path / "out", f"--results={tmp_path / 'r'}")
    assert len(found.one()["objects"]) == 4
    assert found.reasons()["unreadable_masks"] == 1


def test_a_wrong_folder(tmp_path, capsys):
    error = made.fails(capsys, "scenarioclip", tmp_path / "out", f"--results={tmp_path}")
    assert "has no gemma_jsons/*_gemma.json" in error
