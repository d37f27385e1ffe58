"""From somebody else's files to shards: imported, built by the command that is printed, and read back."""

import re
import shlex

import numpy as np
import pytest

from scenarioclip_jax.data.build import command as build_command
from scenarioclip_jax.data.stored import masks, shards
from scenarioclip_jax.importers import command
from tests.importers import made
from tests.importers.test_coco import DOG, PERSON, annotation, captions, image, instances, polygon


@pytest.fixture
def coco(tmp_path):
    """A photo with a person and a dog; the folder's name has to be quoted in a shell."""
    folder = tmp_path / "my photos"
    made.photo(folder / "val2017/000000000007.jpg")
    images = [image(7)]
    boxes = [
        annotation(7, PERSON, made.xywh("man")),
        annotation(7, DOG, made.xywh("dog"), segmentation=polygon("dog")),
    ]
    instances(folder / "instances_val2017.json", boxes, images)
    captions(
        folder / "captions_val2017.json", [(7, "A person with a dog."), (7, "Two friends")], images
    )
    return folder


def test_what_is_imported_is_built_by_the_printed_command(coco, tmp_path, capsys):
    arguments = [f"--instances={coco / 'instances_val2017.json'}"]
    arguments += [f"--captions={coco / 'captions_val2017.json'}", f"--images={coco}"]
    assert command.main(["coco", *arguments, f"--output={tmp_path / 'meta data'}"]) == 0
    printed = capsys.readouterr().out
    (line,) = re.findall(r"python -m scenarioclip_jax\.data\.build .*", printed)
    words = shlex.split(line)[3:]
    words = [word if word != "SHARDS" else str(tmp_path / "shards") for word in words]
    words = [re.sub(r"^--output=.*", f"--output={tmp_path / 'shards'}", word) for word in words]
    assert build_command.main([*words, "--strict"]) == 0
    (scene,) = shards.open_split(tmp_path / "shards", "validation")
    assert (scene.action, list(scene.captions)) == ("", ["A person with a dog.", "Two friends"])
    assert scene.object_names == ["person", "dog"]
    expected = [made.box("man"), made.box("dog")]
    np.testing.assert_allclose(scene.object_boxes, expected, atol=1)
    shown = masks.decode(scene.object_masks[1])
    assert (shown != made.mask("dog")).mean() < 0.01


def test_a_source_without_validation_gets_the_flag_for_it(coco, tmp_path, capsys):
    arguments = [f"--instances={coco / 'instances_val2017.json'}", f"--images={coco}"]
    for split, flag in (("train", True), ("validation", False), ("test", False)):
        output = f"--output={tmp_path / split}"
        assert command.main(["coco", *arguments, output, f"--split={split}"]) == 0
        assert ("--validation-share=0.05" in capsys.readouterr().out) == flag
