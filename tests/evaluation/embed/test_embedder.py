"""Embedding a split: every picture once, in order, the same as embedding it by itself."""

import jax
import numpy as np
import pytest
from flax import nnx

from scenarioclip_jax.data.device.views import ViewSettings, views
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.shards import load_classes, open_split
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.evaluation.embed.embedder import TEXT_BATCH, Embedder, Stopped
from scenarioclip_jax.evaluation.score.recognition import recognize
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from scenarioclip_jax.parallel.mesh import make_mesh
from tests.data.fake_scenes import resized

SETTINGS = resized(
    DataSettings(),
    batch_size=8,
    packing_groups=8,
    objects=7,
    relations=5,
    image_size=32,
    canvas_size=40,
)
LENGTHS = dict.fromkeys(LEVELS, 12)


@pytest.fixture(scope="module")
def world(small_data, tmp_path_factory):
    classes = load_classes(small_data)
    texts = sorted({text for kind in classes.values() for text in kind})
    tokenizer = train_tokenizer(texts, tmp_path_factory.mktemp("t") / "tokenizer.json", 400)
    vision = dict(
        width=16, depth=1, heads=2, mlp_dim=32, image_size=32, patch_size=16, stem_blocks=0
    )
    text = dict(
        width=16, depth=1, heads=2, mlp_dim=32, vocab_size=400, max_length=12, stem_blocks=0
    )
    text["eos_id"] = tokenizer.eos_id
    sizes = dict(arch="scenario_clip_0", vision=vision, text=text, embed_dim=8)
    graph, params = parameters.create(lambda: ScenarioCLIP(**sizes, rngs=nnx.Rngs(0)))
    source = open_split(small_data, "test")
    return source, tokenizer, graph, params, classes


def embedder(world, **arguments):
    _, tokenizer, graph, _, _ = world
    return Embedder(graph, make_mesh(), tokenizer, ViewSettings(), LENGTHS, **arguments)


@pytest.mark.slow
def test_every_picture_once_and_in_order(world):
    source, tokenizer, graph, params, _ = world
    batches = EvaluationBatches(source, tokenizer, SETTINGS)
    galleries = embedder(world).images(params, batches)
    scenes = [source[i] for i in range(len(source))]
    assert galleries["global"].texts == [scene.action for scene in scenes]
    assert galleries["object"].texts == [name for s in scenes for name in s.object_names]
    assert galleries["relation"].photo_ids == [s.id for s in scenes for _ in s.relations]
    # One batch by hand, without jit, sharding or masks.
    batch, _ = next(iter(batches))
    pictures = views(jax.tree.map(np.asarray, batch), ViewSettings(), train=False)
    model = parameters.merge(graph, params)
    flat = pictures["object"].reshape(-1, *pictures["object"].shape[2:])
    expected = np.asarray(model.encode_image(flat, "object"))[
        batch.levels["object"].mask.reshape(-1)
    ]
    np.testing.assert_allclose(galleries["object"].embeddings[: len(expected)], expected, atol=1e-4)


def test_texts_of_any_number(world):
    _, tokenizer, graph, params, _ = world
    texts = [f"red circle {i}" for i in range(TEXT_BATCH + 3)]
    ours = embedder(world).texts(params, texts, "object")
    ids, _ = tokenizer.encode(texts[-2:], 12)
    expected = parameters.merge(graph, params).encode_text(ids, "object")
    assert len(ours) == len(texts)
    np.testing.assert_allclose(ours[-2:], expected, atol=1e-5)


def test_recognition_scores_every_level(world):
    source, tokenizer, _, params, classes = world
    found = recognize(
        embedder(world), params, EvaluationBatches(source, tokenizer, SETTINGS), classes
    )
    assert set(found.scores) == set(LEVELS)
    assert found.scores["object"]["classes"] == len(classes["objects"])
    assert found.scores["global"]["count"] == len(source)


def test_a_stop_request_is_seen_between_batches(world):
    source, tokenizer, _, params, _ = world
    with pytest.raises(Stopped):
        embedder(world, should_stop=lambda: True).images(
            params, EvaluationBatches(source, tokenizer, SETTINGS)
        )
