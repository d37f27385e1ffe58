"""Embedding files and splits with a tiny model: the right pixels, once each, never from a stale cache."""

import copy
import dataclasses

import numpy as np
import pytest
from PIL import Image

import scenarioclip_jax
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.evaluation.embed import cache as caches
from scenarioclip_jax.evaluation.embed.cache import Cache, digest
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder, Picture, view_of
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.files import SuiteError
from tests.data.builder_inputs import photo, record, write_root
from tests.evaluation.tiny_model import write_model


@pytest.fixture(scope="module")
def model(small_data, tmp_path_factory):
    return scenarioclip_jax.load(write_model(tmp_path_factory.mktemp("m") / "model", small_data))


@pytest.fixture
def photos(tmp_path):
    draw = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(draw.integers(256, size=(48, 64, 3), dtype=np.uint8)).save(path)
    return paths


def encoder(model, folder):
    return ModelEncoder(model, Cache(folder), batch_size=8, quiet=True)


def test_the_same_as_the_model_alone_and_computed_once(model, photos, tmp_path):
    ours = encoder(model, tmp_path / "cache")
    pictures = [Picture(path) for path in (*photos, photos[0])]
    found = ours.images(pictures, "object")
    np.testing.assert_allclose(found[:3], model.encode_image(photos, "object"), atol=1e-5)
    np.testing.assert_array_equal(found[0], found[3])
    texts = ["red circle", "blue square", "red circle"]
    np.testing.assert_allclose(
        ours.texts(texts, "global"), model.encode_text(texts, "global"), atol=1e-5
    )
    assert (ours.cache.found, ours.cache.computed) == (0, 2)
    again = encoder(model, tmp_path / "cache")
    np.testing.assert_array_equal(again.images(pictures, "object"), found)
    assert (again.cache.found, again.cache.computed) == (1, 0)


def test_nothing_stale_is_ever_taken(model, photos, tmp_path, monkeypatch):
    folder = tmp_path / "cache"

    def computed(pictures, model=model, level="object"):
        ours = encoder(model, folder)
        ours.images(pictures, level)
        return ours.cache.computed

    one = [Picture(photos[0])]
    assert computed(one) == 1
    assert computed(one) == 0
    assert computed(one, level="global") == 1
    assert computed([Picture(photos[0], crop=(0, 0, 9, 9))]) == 1
    assert computed([Picture(photos[0], keep=((0, 0, 9, 9),))]) == 1
    Image.open(photos[1]).save(photos[0])  # another picture under the same name
    assert computed(one) == 1
    params = {path: np.array(value) for path, value in model.params.items()}
    path = next(path for path in sorted(params) if path.endswith("kernel"))
    params[path].flat[0] += 1e-3  # another checkpoint in the same place
    changed = type(model)(model.spec, params, model.tokenizer)
    assert computed(one, changed) == 1
    fit = type(model)(
        type(model.spec)(model.spec.model, model.spec.lengths, "contain"), params, model.tokenizer
    )
    assert computed(one, fit) == 1  # another preprocessing
    assert computed(one) == 0
    monkeypatch.setattr(caches, "CODE", ("data/photo.py",))  # another version of the code
    assert computed(one) == 1


def test_a_damaged_file_is_computed_again(model, photos, tmp_path):
    ours = encoder(model, tmp_path / "cache")
    wanted = ours.images([Picture(photos[0])], "object")
    (file,) = (tmp_path / "cache").glob("*.npy")
    file.write_bytes(file.read_bytes()[:90])
    again = encoder(model, tmp_path / "cache")
    np.testing.assert_array_equal(again.images([Picture(photos[0])], "object"), wanted)
    assert again.cache.computed == 1


def test_digests_tell_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(np.zeros(2, np.float32)) != digest(np.zeros(1, np.float64))
    assert digest("1") != digest(1)


def test_crops_and_focused_regions(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 200
    path = tmp_path / "half.png"
    Image.fromarray(pixels).save(path)
    assert (view_of(Picture(path, crop=(20, 0, 40, 20)), 8, "centre_crop") == 200).all()
    assert (view_of(Picture(path, crop=(0, 0, 20, 20)), 8, "centre_crop") == 0).all()
    # The view of 20 x 20 pixels shows x from 10 to 30. Kept: its lower right quarter.
    view = view_of(Picture(path, keep=((20, 10, 30, 20),)), 20, "centre_crop")
    assert (view[10:, 10:] == 200).all()
    view[10:, 10:] = 0
    assert not view.any()
    around = view_of(Picture(path, keep=((20, 10, 30, 20),)), 20, "centre_crop", "blurred")
    assert (around[12:, 12:] == 200).all()
    assert 130 < around[5, 10, 0] < 146  # half a sigma from the edge: 200 * 0.69
    with pytest.raises(SuiteError, match=r"half.png: the box .* lies outside"):
        view_of(Picture(path, crop=(50, 0, 60, 20)), 8, "centre_crop")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(SuiteError, match=r"broken.jpg: the image can't be read"):
        view_of(Picture(tmp_path / "broken.jpg"), 8, "centre_crop")


def test_scenes_are_seen_in_the_style_of_the_model(model, small_data, tmp_path):
    dark, embedded = {}, {}
    for style in ("stored", "blurred"):
        own = copy.copy(model)
        own.spec = dataclasses.replace(model.spec, region_style=style)
        data = DataSet(encoder(own, tmp_path / "cache"), small_data, scenes=10)
        view = data.views({"relation": {0}})["relation"][0]
        dark[style] = (view.max(-1) < 3).mean()
        embedded[style] = data.split("test").galleries["relation"].embeddings
    assert dark["stored"] > 0.3
    assert dark["blurred"] < 0.05
    assert np.abs(embedded["stored"] - embedded["blurred"]).max() > 1e-3


def test_a_split_in_order_and_cached_without_decoding(model, small_data, tmp_path, monkeypatch):
    data = DataSet(encoder(model, tmp_path / "cache"), small_data, scenes=10)
    split = data.split("test")
    source = shards.open_split(small_data, "test")
    scenes = [source[i] for i in range(10)]
    assert split.galleries["global"].photo_ids == [scene.id for scene in scenes]
    assert split.triplets == [r.triplet for scene in scenes for r in scene.relations]
    for gallery in split.galleries.values():
        assert len(gallery.embeddings) == len(gallery.texts) == len(gallery.photo_ids)
    # The last global row is the last photo.
    path = tmp_path / "last.png"
    path.write_bytes(scenes[-1].photo)
    alone = model.encode_image(path, "global")
    np.testing.assert_allclose(split.galleries["global"].embeddings[-1:], alone, atol=1e-4)
    again = DataSet(encoder(model, tmp_path / "cache"), small_data, scenes=10)
    monkeypatch.setattr(again, "_embed", None)
    for level in LEVELS:
        one, two = split.galleries[level], again.split("test").galleries[level]
        np.testing.assert_array_equal(one.embeddings, two.embeddings)


def test_no_photo_is_in_two_splits(model, small_data, tmp_path):
    data = DataSet(encoder(model, tmp_path), small_data)
    ids = [data.photo_ids(name) for name in SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 150


def test_one_class_is_refused(model, small_data, tmp_path):
    data = DataSet(encoder(model, tmp_path), small_data)
    data._classes = {"actions": ["only"]}
    with pytest.raises(SuiteError, match=r"classes.json: actions lists one class, 'only'"):
        data.classes("global")


def test_texts_of_scenes_that_have_some_and_of_one_photo(model, tmp_path):
    """Scenes `a` and `b` are of one photo; `b` has no action, `d` neither action nor captions."""
    entries = [
        record("a", dense_caption="said of a"),
        record("b", action=None, dense_caption="said of b", captions=["and this"]),
        record("c", dense_caption=None),
        record("d", action=None, dense_caption=None),
    ]
    root = write_root(tmp_path / "root", *(each | {"split": "test"} for each in entries))
    for darker, name in enumerate("cd", 1):
        changed = Image.eval(photo(), lambda value, darker=darker: value - 9 * darker)
        changed.save(root / f"images/{name}.jpg", quality=95)
    build(root, tmp_path / "data", progress=False)
    order = [scene.id for scene in shards.open_split(tmp_path / "data", "test")]
    split = DataSet(encoder(model, tmp_path / "cache"), tmp_path / "data").split("test")
    scenes, objects = split.galleries["global"], split.galleries["object"]
    assert scenes.photo_ids == [id for id in order if id in "ac"]
    assert scenes.texts == ["playing in the yard"] * 2
    whole = split.captioned
    assert split.captions == [
        [
            text
            for id in order
            for text in {"a": ["said of a"], "b": ["said of b", "and this"]}.get(id, [])
        ]
    ]
    row = scenes.photo_ids.index("a")
    np.testing.assert_allclose(whole, scenes.embeddings[[row]], atol=1e-5)
    shown = dict.fromkeys("abcd")
    for id, picture in zip(objects.photo_ids, objects.pictures or [], strict=True):
        shown[id] = (shown[id] or []) + [picture]
    assert shown["a"] == shown["b"]
    assert len({tuple(of or []) for of in shown.values()}) == 3


def test_boxes_of_objects_are_seen_as_the_model_sees_them(model, photos, tmp_path):
    boxes = [(5, 5, 30, 40), (20, 10, 60, 44)]
    ours = encoder(model, tmp_path / "cache")
    pictures = [Picture(path, keep=(box,)) for path in photos[:2] for box in boxes]
    found = ours.images(pictures, "object")
    expected = np.concatenate([model.encode_objects(path, boxes) for path in photos[:2]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # In any order, and the same box of another photo is another picture.
    turned = ours.images(pictures[::-1], "object")
    np.testing.assert_allclose(turned[::-1], expected, atol=1e-5)
    assert not np.allclose(expected[0], expected[2], atol=1e-3)
