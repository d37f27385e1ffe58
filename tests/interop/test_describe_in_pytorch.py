"""A folder for PyTorch describes photos as its model does in JAX, and needs nothing of this package."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from scenarioclip_jax import checkpoint, convert, load
from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.describe.detector import open_detector
from scenarioclip_jax.interop import initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from scenarioclip_jax.interop.portable import portable
from scenarioclip_jax.interop.to_pytorch import SHARED
from tests.annotate.models import tiny
from tests.interop import helpers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LENGTHS = {"global": 12, "object": 6, "relation": 9}
TEMPERATURES = {"global": 0.5, "object": 2.0, "relation": 1.25}
BOXES = [[3, 4, 40.5, 30], [0, 0, 67, 45], [30, 11, 31, 40], [60.2, 40, 66, 44]]
PAIRS = [[BOXES[0], BOXES[1]], [BOXES[3], BOXES[2]]]
WORDS = {
    "actions": ["two people talk", "a horse eats"],
    "objects": ["a red circle", "square", "horse"],
    "predicates": ["left of", "rides", "a predicate that is so long that no model reads all of it"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes (and keeps) our checkpoint and its folder for PyTorch, by what differs."""
    kept = {}
    clip = open_plain_clip(str(helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")))

    def make(arch="scenario_clip_0", fit="centre_crop", style="stored", regions="views"):
        key = arch, fit, style, regions
        if key not in kept:
            root = tmp_path_factory.mktemp("described")
            model = initial.arguments_from_clip(clip, arch=arch, embed_dim=40, share_stem=False)
            model["regions"] = regions
            rng = np.random.default_rng(7)
            params = {
                path: (value + 0.1 * rng.standard_normal(value.shape)).astype(np.float32)
                for path, value in initial.from_clip(clip, model).items()
            }
            ours = root / "ours"
            ours.mkdir()
            helpers.tokenizer().save(ours)
            checkpoint.save_model(ours, ModelSpec(model, LENGTHS, fit, style), params, step=5)
            entry = {level: {"temperature": value} for level, value in TEMPERATURES.items()}
            (ours / "calibration.json").write_text(json.dumps({"student": entry}))
            convert.main(["to-pytorch", f"--checkpoint={ours}", f"--output={root / 'out'}"])
            kept[key] = ours, root / "out"
        return kept[key]

    return make


def opened(folder):
    model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    return model.eval(), transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)


def photo():
    # 67 x 45: most fits see a part of it.
    return np.random.default_rng(3).integers(0, 256, (45, 67, 3), np.uint8)


def assert_alike(found, wanted):
    """Texts, boxes and indices are equal; scores are to within 1e-5."""
    assert type(found) is type(wanted) or {type(found), type(wanted)} <= {int, float}
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_alike(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_alike(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-5)
    else:
        assert found == wanted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the model doesn't read the end")
@pytest.mark.parametrize(
    ("arch", "fit", "style", "regions"),
    [
        ("scenario_clip_0", "centre_crop", "stored", "views"),
        ("scenario_clip_1", "contain", "published", "views"),
        ("clip", "squash", "boxes", "views"),
        ("pyramid_clip", "contain", "blurred", "views"),
        ("scenario_clip_shared", "contain", "stored", "pooled"),
        ("scenario_clip_0", "centre_crop", "stored", "pooled"),
    ],
)
def test_photos_parts_and_scene_graphs_are_those_of_jax(made, arch, fit, style, regions):
    ours, out = made(arch, fit, style, regions)
    jax_model, (model, processor) = load(ours), opened(out)
    with torch.no_grad():
        objects = model.encode_objects(photo(), BOXES, processor)
        relations = model.encode_relations(photo(), PAIRS, processor)
    np.testing.assert_allclose(objects, jax_model.encode_objects(photo(), BOXES), atol=1e-5)
    np.testing.assert_allclose(relations, jax_model.encode_relations(photo(), PAIRS), atol=1e-5)
    assert not np.allclose(objects[0], objects[1], atol=1e-3)
    for options in ({}, {"one_per_pair": False, "relations": 7, "actions": 1}):
        wanted = jax_model.describe(photo(), BOXES, words=WORDS, **options)
        found = model.describe(photo(), BOXES, words=WORDS, processor=processor, **options)
        assert_alike(found.to_dict(), wanted.to_dict())
        assert len(found.relations) > 1
    named = ["man", "dog", "hat", "cat"]
    wanted = jax_model.describe(photo(), BOXES, words=WORDS, names=named)
    found = model.describe(photo(), BOXES, words=WORDS, names=named, processor=processor)
    assert_alike(found.to_dict(), wanted.to_dict())


@pytest.mark.slow
def test_temperatures_come_along_both_ways(made):
    ours, out = made()
    assert json.loads((out / "config.json").read_text())["temperatures"] == TEMPERATURES
    assert load(out).temperatures == TEMPERATURES == load(ours).temperatures
    model, processor = opened(out)
    before = model.describe(photo(), BOXES[:1], words=WORDS, processor=processor)
    model.config.temperatures = {}
    after = model.describe(photo(), BOXES[:1], words=WORDS, processor=processor)
    assert before.objects[0].score < after.objects[0].score  # 2 is flatter than 1
    assert before.actions[0].score > after.actions[0].score


@pytest.mark.parametrize("wrong", [{"object": 0}, {"object": "1"}, [1], {"object": float("nan")}])
def test_wrong_temperatures_are_named(made, tmp_path, wrong):
    values = json.loads((made()[1] / "config.json").read_text())
    for file in made()[1].iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(values | {"temperatures": wrong}))
    with pytest.raises(CheckpointError, match=r"config\.json: temperatures is .* from 0.01 to 100"):
        load(tmp_path)


def test_a_folder_of_before_there_were_temperatures_opens(made, tmp_path):
    for file in made()[1].iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    values = json.loads((tmp_path / "config.json").read_text())
    del values["temperatures"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert load(tmp_path).temperatures == {}
    assert opened(tmp_path)[0].config.temperatures == {}


def test_parts_of_several_photos_are_pictures_one_after_the_other(made):
    model, processor = opened(made()[1])
    turned = photo()[::-1].copy()
    both = processor(images=[photo(), turned], boxes=[BOXES, BOXES[:1]], level="object")
    assert "boxes" not in both
    assert both["pixel_values"].shape[0] == len(BOXES) + 1
    one = processor(images=turned, boxes=BOXES[:1], level="object")
    np.testing.assert_array_equal(both["pixel_values"][-1:], one["pixel_values"])
    with torch.no_grad():
        assert model(**both, level="object").image_embeds.shape == (len(BOXES) + 1, 40)


def test_texts_that_are_cut_are_told(made):
    model, processor = opened(made()[1])
    with pytest.warns(UserWarning, match=r"the end of \d+ of \d+ texts at the level relation"):
        model.describe(photo(), BOXES[:2], words=WORDS, processor=processor)
    with pytest.warns(UserWarning, match="the end of 1 of 1 texts at the level object"):
        model.describe(photo(), BOXES[:1], words={"objects": ["horse " * 20]}, processor=processor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": {"objects": "horse"}}, "objects is 'horse'; a list of texts"),
        ({"words": {"things": ["horse"]}}, "'things' isn't one of actions, objects"),
        ({"words": "no/such/file.json"}, r"no/such/file\.json: can't be read as JSON"),
        ({"words": {"predicates": ["on"]}}, "there are boxes but no names of objects"),
        ({"words": WORDS, "names": ["man"]}, "give one for each of 4 boxes"),
        ({"words": WORDS, "relations": -1}, "relations is -1"),
        ({"words": WORDS, "boxes": [[5, 5, 5, 9]]}, r"box 0 is \[5.0, 5.0, 5.0, 9.0\]"),
    ],
)
def test_what_is_wrong_is_said(made, arguments, message):
    model, processor = opened(made()[1])
    given = {"boxes": BOXES, "processor": processor} | arguments
    with pytest.raises(ValueError, match=message):
        model.describe(photo(), **given)


@pytest.mark.filterwarnings("ignore:the model doesn't read the end")
def test_a_detector_by_its_name_finds_the_boxes_that_it_finds_in_jax(made, tmp_path):
    ours, out = made()
    folder = tiny.grounding_dino(tmp_path / "dino")
    model, processor = opened(out)
    words = WORDS | {"objects": ["dog", "red car", "umbrella"]}
    finder = open_detector(folder, threshold=0.01)
    wanted = load(ours).describe(photo(), words=words, detector=finder, most_pairs=5)
    assert len(wanted.objects) > 1
    options = {"detector": folder, "threshold": 0.01, "most_pairs": 5}
    found = model.describe(photo(), words=words, processor=processor, **options)
    assert_alike(found.to_dict(), wanted.to_dict())
    # Boxes that are given need none, and the next photo doesn't load it again.
    given = model.describe(photo(), BOXES, words=words, processor=processor, **options)
    assert len(given.objects) == len(BOXES)
    shutil.rmtree(folder)
    model.describe(photo(), words=words, processor=processor, **options)
    with pytest.raises(ValueError, match="threshold is 1; it must be between 0 and 1"):
        model.describe(photo(), words=words, processor=processor, detector=folder, threshold=1)


@pytest.mark.filterwarnings("ignore:the model doesn't read the end")
def test_words_are_a_file_and_a_detector_is_any_function(made, tmp_path):
    model, processor = opened(made()[1])
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    asked = []

    def detector(picture, names):
        asked.append((picture.size, tuple(names)))
        return np.array(BOXES, np.float32)

    arguments = {"words": tmp_path / "words.json", "processor": processor}
    found = list(model.describe_many([photo(), photo()], detector=detector, **arguments))
    assert asked == [((67, 45), tuple(WORDS["objects"]))] * 2
    wanted = model.describe(photo(), BOXES, **arguments)
    assert [each.to_dict() for each in found] == [wanted.to_dict()] * 2


ALONE = """
import sys
for name in ("scenarioclip_jax", "jaxtyping", "jax", "matplotlib", "networkx"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
photo = np.full((40, 60, 3), 90, np.uint8)
words = {"objects": ["horse", "dog"], "predicates": ["on"]}
scene = model.describe(photo, [[0, 0, 30, 30], [20, 10, 60, 40]], words=words, processor=processor)
print(len(scene.relations))
try:
    scene.draw()
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_folder_needs_nothing_of_this_package_nor_what_only_draws(made, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(made()[1])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        env={"HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1", "draw needs matplotlib: pip install matplotlib"]


@pytest.mark.slow
def test_the_picture_is_that_of_jax(made):
    ours, out = made("scenario_clip_shared", "contain", "stored", "pooled")
    model, processor = opened(out)
    words = {"objects": ["horse", "square"], "predicates": ["on"]}
    wanted = load(ours).describe(photo(), BOXES, words=words).draw()
    found = model.describe(photo(), BOXES, words=words, processor=processor).draw()
    assert found.size == wanted.size
    assert np.abs(np.asarray(found, int) - np.asarray(wanted, int)).mean() < 0.01


def test_copies_are_the_modules_with_other_imports(made):
    out = made()[1]
    for module in SHARED:
        name = module.__name__.rpartition(".")[2]
        with open(module.__file__, encoding="utf-8") as file:
            assert (out / f"{name}.py").read_text() == portable(file.read())
    for file in out.glob("*.py"):
        code = file.read_text()
        assert "from scenarioclip_jax" not in code
        assert "jaxtyping" not in code.replace("`jaxtyping`", "")


def test_imports_are_rewritten():
    source = '''"""Text."""

from typing import Any

from jaxtyping import Float
from matplotlib.figure import Figure
from scenarioclip_jax.data.stored.labels import (
    labels_of,
    relation_text,
)


def lazily(x: Float[Any, "N"]):
    from scenarioclip_jax.drawing import draw_box as box

    return box
'''
    assert portable(source).splitlines() == [
        '"""Text."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any",
        "",
        "try:",
        "    from matplotlib.figure import Figure",
        "except ImportError:",
        "    pass",
        "from .labels import labels_of, relation_text",
        "",
        "",
        'def lazily(x: Float[Any, "N"]):',
        "    from .drawing import draw_box as box",
        "",
        "    return box",
    ]


def test_odd_ends_of_lines_inside_of_texts_stay_where_they_are():
    source = 'SPACES = "\u2028\x85\x0c"\nfrom scenarioclip_jax.files import whole\n'
    assert portable(source) == 'SPACES = "\u2028\x85\x0c"\nfrom .files import whole\n'


@pytest.mark.parametrize(
    "line", ["import scenarioclip_jax.data", "from scenarioclip_jax.data import images"]
)
def test_imports_that_a_folder_could_not_have_are_refused(line):
    with pytest.raises(ValueError, match=r"line 1: .*: import names from a module"):
        portable(line + "\n")
