"""Whatever a model's files hold: a model, or one error that names the file; and no output."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax import checkpoint, convert
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import exported, initial
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
ODD = st.sampled_from(
    [0, -1, 1, 2**40, 10**30, "", "7", [], {}, [7], 1e308, float("nan"), True, None]
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")
    settings = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_mean": [0.48145466] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": None}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("exported")
    convert.main(["from-huggingface", f"--model={clip}", f"--output={root / 'a'}", "--arch=clip"])
    convert.main(["to-pytorch", f"--checkpoint={root / 'a'}", f"--output={root / 'out'}"])
    return root / "out"


def read(folder):
    """The whole model, or an error that names what it is about."""
    try:
        if exported.is_exported(folder):
            exported.read(folder)
            return
        clip = open_plain_clip(str(folder))
        initial.from_clip(clip, initial.arguments_from_clip(clip, arch="clip"))
    except CheckpointError as error:
        assert str(folder) in str(error)  # noqa: PT017


def changed(values, data):
    """The same JSON with another value at any place."""
    values = copy.deepcopy(values)
    node = values
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            node[key] = data.draw(ODD | JSON)
            return values
        node = inner


class Restored:
    """A file with other content for a while."""

    def __init__(self, path, content):
        self.path, self.content, self.before = path, content, path.read_bytes()

    def __enter__(self):
        self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.before)


@pytest.mark.slow
@given(data=st.data())
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_any_value_in_a_clips_settings(clip, name, data):
    values = changed(json.loads((clip / name).read_text()), data)
    with Restored(clip / name, json.dumps(values).encode()):
        read(clip)


@given(data=st.data())
def test_any_value_in_an_exported_config(folder, data):
    values = changed(json.loads((folder / "config.json").read_text()), data)
    with Restored(folder / "config.json", json.dumps(values).encode()):
        read(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("arch", []), ("fit", "x"), ("vision.depth", 2**40), ("lengths", {"a": 0})]
)
def test_fields_of_an_exported_config(folder, field, value):
    """Found by the properties: some took for ever, others were errors of Python's."""
    values = node = json.loads((folder / "config.json").read_text())
    *parents, last = field.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = value
    with Restored(folder / "config.json", json.dumps(values).encode()):
        with pytest.raises(CheckpointError, match=rf"config\.json: .*{last} is .*; it must be"):
            exported.read(folder)


@given(data=st.data())
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_any_damage(clip, name, data):
    content = bytearray((clip / name).read_bytes())
    kind = data.draw(st.sampled_from(["cut", "byte", "insert", "replace"]))
    # Mostly where the structure is: the safetensors' header, the JSON's beginning.
    place = data.draw(
        st.integers(0, min(len(content) - 1, data.draw(st.sampled_from([12, 999, 10**9]))))
    )
    if kind == "cut":
        content = content[:place]
    elif kind == "byte":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        content = data.draw(st.binary(max_size=40))
    with Restored(clip / name, bytes(content)):
        read(clip)


@given(data=st.data())
def test_any_shape(tmp_path_factory, data):
    arrays = helpers.clip_arrays()
    name = data.draw(st.sampled_from(sorted(arrays)))
    shape = data.draw(st.lists(st.integers(0, 5), max_size=4))
    arrays[name] = np.zeros(shape, data.draw(st.sampled_from(["float32", "int64", "bool"])))
    read(helpers.write_clip(tmp_path_factory.mktemp("shape") / "model", arrays))


@given(values=JSON)
def test_any_model_json(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("spec")
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"model\.json"):
        checkpoint.ModelSpec.read(folder)


def test_a_refused_model_leaves_no_output(clip, tmp_path):
    with Restored(clip / "config.json", b"{}"):
        with pytest.raises(SystemExit, match=r"config\.json: model_type is None"):
            convert.main(["from-huggingface", f"--model={clip}", f"--output={tmp_path / 'out'}"])
    assert not list(tmp_path.iterdir())
