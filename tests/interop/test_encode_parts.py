"""Objects and relations of a photo, by their boxes: the numbers are those of evaluation of the same scenes."""

import io

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.device.views import ViewSettings
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.evaluation.embed.cache import NoCache
from scenarioclip_jax.evaluation.embed.embedder import Embedder
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder, Picture
from scenarioclip_jax.inference import Model
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from scenarioclip_jax.parallel.mesh import make_mesh
from tests.evaluation import tiny_model

SCENES = 6


@pytest.fixture(scope="module", params=["views", "pooled"])
def case(request, small_data):
    """A model, and what evaluation makes of the first test scenes."""
    folder = shards.dataset_dir(small_data)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    arguments = tiny_model.sizes(tokenizer.eos_id) | {"regions": request.param}
    arguments["text"] = arguments["text"] | {"vocab_size": tokenizer.vocab_size}
    graph, params = parameters.create(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    model = Model(ModelSpec(arguments, dict.fromkeys(LEVELS, 12)), params, tokenizer)
    source = shards.open_split(small_data, "test")
    settings = DataSettings(
        batch_size=8,
        image_size=32,
        min_visible_pixels=0,
        pooled_regions=request.param == "pooled",
        levels={level: {"text_length": 12} for level in LEVELS},
    )
    batches = EvaluationBatches(source, tokenizer, settings, range(SCENES))
    embedder = Embedder(
        graph,
        make_mesh(devices=jax.devices()[:1]),
        tokenizer,
        ViewSettings(),
        dict.fromkeys(LEVELS, 12),
    )
    galleries = embedder.images(model.params, batches)
    return model, [source[i] for i in range(SCENES)], galleries


@pytest.mark.slow
def test_the_numbers_of_evaluation(case):
    model, scenes, galleries = case
    objects, relations = [], []
    for scene in scenes:
        photo = Image.open(io.BytesIO(scene.photo))
        objects.append(model.encode_objects(photo, scene.object_boxes))
        relations.append(model.encode_relations(photo, [r.boxes for r in scene.relations]))
    np.testing.assert_allclose(np.concatenate(objects), galleries["object"].embeddings, atol=1e-5)
    found = np.concatenate(relations)
    np.testing.assert_allclose(found, galleries["relation"].embeddings, atol=1e-5)


def test_the_order_of_a_pair_means_nothing(case):
    model, (scene, *_), _ = case
    photo = np.asarray(Image.open(io.BytesIO(scene.photo)))
    pair = scene.relations[0].boxes
    one, other = model.encode_relations(photo, [pair, pair[::-1]])
    np.testing.assert_array_equal(one, other)


def test_suites_show_pairs_as_evaluation_does(case, tmp_path):
    """Also several photos in a row, as predicate classification asks for."""
    model, scenes, galleries = case
    pictures = []
    for scene in scenes[:2]:
        path = tmp_path / f"{scene.id}.jpg"
        path.write_bytes(scene.photo)
        pictures += [
            Picture(path, keep=tuple(map(tuple, r.boxes.tolist()))) for r in scene.relations
        ]
    encoder = ModelEncoder(model, NoCache(), quiet=True)
    found = encoder.images(pictures, "relation")
    np.testing.assert_allclose(found, galleries["relation"].embeddings[: len(found)], atol=1e-4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], r"boxes are \[0\]; expected \[N, 4\]"),
        ([1, 2, 3, 4], r"boxes are \[4\]; expected \[N, 4\]"),
        ([[[1, 2, 3, 4]] * 2], r"boxes are \[1, 2, 4\]; expected \[N, 4\]"),
        ("here", r"boxes aren't numbers"),
        ([[1, 2, 8, 9], [5, 5, 5, 9]], r"box 1 is \[5\.0, 5\.0, 5\.0, 9\.0\]: .* x0 < x1"),
        ([[90, 2, 99, 9]], r"box 0 .* meet the photo of 64 x 48 pixels"),
        ([[1, 2, float("nan"), 9]], r"box 0 is"),
    ],
)
def test_boxes_that_make_no_sense(case, boxes, message):
    model, *_ = case
    photo = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        model.encode_objects(photo, boxes)
    with pytest.raises(ValueError, match=r"expected \[N, 2, 4\]"):
        model.encode_relations(photo, [[1, 2, 3, 4]])
