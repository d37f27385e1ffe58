"""A scene graph's numbers by hand, and that of a model by its own embeddings."""

import importlib
import itertools
import json
import math

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.describe.describe import describe, describe_many
from scenarioclip_jax.describe.scene_graph import SceneGraph, Scored
from scenarioclip_jax.describe.steps import NotFiniteError
from scenarioclip_jax.describe.texts import CutTextWarning, Texts
from scenarioclip_jax.describe.word_lists import WordsError
from scenarioclip_jax.inference import Model
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from tests.evaluation import tiny_model

WORDS = {
    "actions": ["riding", "sleeping", "eating"],
    "objects": ["man", "horse", "hat"],
    "predicates": ["riding", "wearing", "near"],
}
PHOTO = np.full((100, 200, 3), 90, np.uint8)
# A man on a horse, and a hat far away.
BOXES = [[20, 10, 60, 60], [10, 40, 90, 95], [150, 5, 190, 30]]
SCALE = 4.0


class Known:
    """A model whose embeddings are sums of unit vectors of texts, so that every cosine is known."""

    def __init__(self, whole, objects, relations):
        self._axes, self._whole, self._objects = {}, whole, objects
        self._relations = relations  # by pair of boxes
        self.asked, self.views = [], {}

    def _vector(self, text):
        return np.eye(64)[self._axes.setdefault(text, len(self._axes))]

    def _sum(self, weights):
        return sum(weight * self._vector(text) for text, weight in weights.items())

    def encode_image(self, images, level="global"):
        assert level == "global"
        return np.stack([self._sum(self._whole) for _ in images])

    def encode_objects(self, photo, boxes):
        return np.stack([self._sum(self._objects[tuple(map(int, box))]) for box in boxes])

    def encode_relations(self, photo, pairs):
        keys = [tuple(tuple(map(int, box)) for box in pair) for pair in pairs]
        self.asked += keys
        return np.stack([self._sum(self._relations[key]) for key in keys])

    def encode_text(self, texts, level="global"):
        return np.stack([self._vector(text) for text in texts])

    def similarity(self, images, texts):
        images, texts = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (images, texts))
        return images @ texts.T

    def logit_scale(self, level="global"):
        return SCALE

    def temperature(self, level="global"):
        return 1.0

    def share_in_view(self, boxes, size):
        return np.array([self.views.get(tuple(map(int, box)), 1.0) for box in boxes])

    def cut_texts(self, texts, level="global"):
        return [text for text in texts if len(text) > 40]


def known():
    boxes = [tuple(box) for box in BOXES]
    objects = {
        boxes[0]: {"man": 3, "hat": 1},
        boxes[1]: {"horse": 1},
        boxes[2]: {"hat": 4, "horse": 3},
    }
    relations = {
        (boxes[0], boxes[1]): {"man riding horse": 2, "man near horse": 1},
        (boxes[0], boxes[2]): {"hat near man": 1},
        (boxes[1], boxes[2]): {"horse wearing hat": 1, "hat near horse": 1},
    }
    return Known({"riding": 1, "eating": 1}, objects, relations)


@pytest.fixture
def model():
    return known()


def softmax(*cosines):
    powers = [math.exp(SCALE * cosine) for cosine in cosines]
    return [power / sum(powers) for power in powers]


def test_texts_that_are_kept_are_not_embedded_again(model, monkeypatch):
    texts = Texts(model)
    first = describe(model, PHOTO, BOXES, words=WORDS, texts=texts)
    monkeypatch.setattr(model, "encode_text", None)
    again = describe(model, PHOTO, BOXES, words=WORDS, texts=texts)
    assert again.to_json() == first.to_json()


def test_many_photos_are_described_as_each_by_itself_and_embed_a_text_once(model, monkeypatch):
    asked = []

    def encode_text(texts, level="global"):
        asked.extend((level, text) for text in texts)
        return Known.encode_text(model, texts, level)

    monkeypatch.setattr(model, "encode_text", encode_text)
    boxes = [BOXES, BOXES[:2], []]
    found = list(describe_many(model, [PHOTO] * 3, boxes, words=WORDS))
    assert len(asked) == len(set(asked))
    each = [describe(model, PHOTO, own, words=WORDS) for own in boxes]
    assert [graph.to_json() for graph in found] == [graph.to_json() for graph in each]
    called = list(describe_many(model, [PHOTO], [BOXES[:1]], words=WORDS, names=[["lady"]]))
    assert called[0].objects[0].name == "lady"
    (plain,) = describe_many(model, [PHOTO], words=WORDS)
    assert plain.objects == ()
    with pytest.raises(ValueError, match="boxes are given for 1 photos, and there are more"):
        list(describe_many(model, [PHOTO] * 2, [BOXES], words=WORDS))


def test_many_photos_read_their_words_once(model, tmp_path, monkeypatch):
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    read, module = [], importlib.import_module("scenarioclip_jax.describe.describe")
    read_words = module.read_words
    monkeypatch.setattr(module, "read_words", lambda *a: read.append(a) or read_words(*a))
    graphs = list(describe_many(model, [PHOTO] * 3, [BOXES] * 3, words=tmp_path / "words.json"))
    assert (len(graphs), len(read)) == (3, 1)


def test_every_number_is_that_of_the_formulas(model):
    found = describe(model, PHOTO, BOXES, words=WORDS)
    root = math.sqrt(0.5)
    assert [each.text for each in found.actions] == ["riding", "eating", "sleeping"]
    assert [each.score for each in found.actions] == pytest.approx(softmax(root, root, 0))
    assert [each.name for each in found.objects] == ["man", "horse", "hat"]
    assert [each.box for each in found.objects] == [tuple(map(float, box)) for box in BOXES]
    man = softmax(3 / math.sqrt(10), 1 / math.sqrt(10), 0)[0]
    horse, hat = softmax(1, 0, 0)[0], softmax(0.8, 0.6, 0)[0]
    assert [each.score for each in found.objects] == pytest.approx([man, horse, hat])
    assert [name.text for name in found.objects[0].names] == ["man", "hat", "horse"]
    best = {(r.subject, r.predicate, r.object): r.score for r in found.relations}
    # Six texts for each pair: three predicates in both directions.
    riding = softmax(2 / math.sqrt(5), 1 / math.sqrt(5), 0, 0, 0, 0)[0]
    near = softmax(1, 0, 0, 0, 0, 0)[0]
    wearing = softmax(root, root, 0, 0, 0, 0)[0]
    assert best == pytest.approx(
        {
            (0, "riding", 1): riding * man * horse,
            (2, "near", 0): near * man * hat,
            (1, "wearing", 2): wearing * horse * hat,
        }
    )
    assert [r.score for r in found.relations] == sorted(best.values(), reverse=True)
    assert found.text(found.relations[0]) in ("man riding horse", "hat near man")


def test_all_predicates_of_a_pair_add_up_to_its_names(model):
    found = describe(model, PHOTO, BOXES, words=WORDS, one_per_pair=False, relations=100)
    assert len(found.relations) == 3 * 6
    for a, b in itertools.combinations(range(3), 2):
        of_pair = [r.score for r in found.relations if {r.subject, r.object} == {a, b}]
        names = found.objects[a].score * found.objects[b].score
        assert sum(of_pair) == pytest.approx(names)
    few = describe(model, PHOTO, BOXES, words=WORDS, one_per_pair=False, relations=4)
    assert few.relations == found.relations[:4]


def test_near_pairs_are_asked_about_first(model):
    found = describe(model, PHOTO, BOXES, words=WORDS, most_pairs=1)
    assert model.asked == [(tuple(BOXES[0]), tuple(BOXES[1]))]
    assert len(found.relations) == 1
    assert describe(model, PHOTO, BOXES, words=WORDS, most_pairs=0).relations == ()


def test_names_that_are_known_are_kept(model):
    found = describe(model, PHOTO, BOXES[:2], words=WORDS, names=["Man ", "horse"])
    assert [(each.name, each.score) for each in found.objects] == [("man", 1.0), ("horse", 1.0)]
    riding = softmax(2 / math.sqrt(5), 1 / math.sqrt(5), 0, 0, 0, 0)[0]
    assert found.relations[0].score == pytest.approx(riding)
    with pytest.raises(ValueError, match="give one for each of 2 boxes"):
        describe(model, PHOTO, BOXES[:2], words=WORDS, names=["man"])


def test_two_of_one_name_are_asked_about_once(model):
    """Words can't tell which is which, so one direction stands for both."""
    found = describe(model, PHOTO, BOXES[:2], words=WORDS, names=["man", "man"], one_per_pair=False)
    assert {(r.subject, r.object) for r in found.relations} == {(0, 1)}
    assert sum(r.score for r in found.relations) == pytest.approx(1)


def test_what_the_model_does_not_see_has_no_name_and_no_relation(model):
    model.views = {tuple(BOXES[0]): 0.0, tuple(BOXES[1]): 0.4}
    found = describe(model, PHOTO, BOXES, words=WORDS)
    assert [each.name for each in found.objects] == ["", "horse", "hat"]
    assert [each.seen for each in found.objects] == [0.0, 0.4, 1.0]
    assert found.objects[0].score == 0
    assert [{r.subject, r.object} for r in found.relations] == [{1, 2}]
    assert "40% in the model's view" in str(found)
    found.draw()
    known = describe(model, PHOTO, BOXES, words=WORDS, names=["man", "horse", "hat"])
    assert known.objects[0].name == "man"
    assert [{r.subject, r.object} for r in known.relations] == [{1, 2}]


def test_texts_that_are_cut_are_told(model):
    long = "standing quietly and patiently beside the"
    words = WORDS | {"predicates": ["near", "on", long]}
    with pytest.warns(CutTextWarning, match=rf"6 of 18 texts at the level relation.*{long}"):
        describe(model, PHOTO, BOXES, words=words)


def test_a_generator_of_boxes_and_whole_numbers_of_numpy(model):
    found = describe(
        model, PHOTO, (box for box in BOXES), words=WORDS, relations=np.int64(2), names=None
    )
    assert len(found.objects) == 3
    assert len(found.relations) == 2


def test_without_boxes_only_the_whole_photo_is_described(model):
    found = describe(model, PHOTO, words=WORDS)
    assert found.objects == found.relations == ()
    assert found.actions[0].text == "riding"
    only = describe(model, PHOTO, BOXES, words={"objects": WORDS["objects"]})
    assert only.actions == only.relations == ()
    assert len(only.objects) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"words": {"actions": ["a"]}, "boxes": BOXES}, WordsError, "no names of objects"),
        (
            {"words": {"objects": ["a"]}},
            WordsError,
            "nothing to find: give boxes, or words for act",
        ),
        ({"boxes": BOXES, "names": ["a", "", "b"]}, ValueError, "names: number 1 is empty"),
        ({"boxes": BOXES, "names": ["a", None, "b"]}, ValueError, "names: expected a string"),
        ({"boxes": BOXES, "names": "abc"}, ValueError, "give a list with one for each box"),
        ({"boxes": 5}, ValueError, r"boxes are \[\]; expected"),
        ({"boxes": [[10**400, 1, 2, 3]]}, ValueError, "boxes aren't numbers"),
        ({"boxes": [[5, 5, 5, 9]]}, ValueError, "must have x0 < x1"),
        ({"boxes": [[500, 5, 510, 9]]}, ValueError, "meet the photo of 200 x 100 pixels"),
        ({"boxes": BOXES, "relations": -1}, ValueError, "relations is -1"),
        ({"boxes": BOXES, "most_pairs": 1.5}, ValueError, r"most_pairs is 1\.5"),
    ],
)
def test_what_makes_no_sense_is_refused(model, arguments, error, message):
    with pytest.raises(error, match=message):
        describe(model, PHOTO, **({"words": WORDS} | arguments))


def test_boxes_are_drawn_where_the_photo_is(model, tmp_path):
    """A box that reaches far out of the photo has its label and its arrow in the photo."""
    boxes = [[-900, -300, 60, 60], [10, 40, 1600, 900]]
    model._objects = {tuple(box): {"man": 1} for box in boxes}
    model._relations = {tuple(map(tuple, boxes)): {"man near man": 1}}
    inside = [[0, 0, 60, 60], [10, 40, 200, 100]]
    model._objects |= {tuple(box): {"man": 1} for box in inside}
    model._relations |= {tuple(map(tuple, inside)): {"man near man": 1}}
    pictures = [describe(model, PHOTO, each, words=WORDS).draw() for each in (boxes, inside)]
    np.testing.assert_array_equal(*map(np.asarray, pictures))
    found = describe(model, PHOTO, inside, words=WORDS)
    found.draw(tmp_path / "new/folder/scene.webp")
    assert Image.open(tmp_path / "new/folder/scene.webp").format == "WEBP"
    for name, what in (("a.xyz", r"\.xyz"), ("a", "a file without a suffix"), ("a.svg", r"\.svg")):
        with pytest.raises(ValueError, match=rf"{name}: a picture can't be written as {what}"):
            found.draw(tmp_path / name)
    with pytest.raises(ValueError, match="relations is -1"):
        found.draw(relations=-1)


def test_forms_of_the_result(model, tmp_path):
    found = describe(model, PHOTO, BOXES, words=WORDS)
    told = json.loads(found.to_json())
    assert told["size"] == [200, 100]
    assert told["objects"][0]["name"] == "man"
    assert told["relations"][0]["text"] == found.text(found.relations[0])
    assert "man riding horse" in str(found)
    networkx = pytest.importorskip("networkx")
    graph = found.to_networkx()
    assert isinstance(graph, networkx.MultiDiGraph)
    assert graph.nodes[1]["name"] == "horse"
    assert graph.edges[0, 1, 0]["predicate"] == "riding"
    networkx.write_graphml(graph, tmp_path / "scene.graphml")
    read = networkx.read_graphml(tmp_path / "scene.graphml", node_type=int, force_multigraph=True)
    assert [read.nodes[1][name] for name in ("x0", "y0", "x1", "y1")] == BOXES[1]
    assert read.graph["width"], read.graph["action_0"] == (200, found.actions[0].text)
    picture = found.draw(tmp_path / "scene.png")
    assert Image.open(tmp_path / "scene.png").size == picture.size
    plain = SceneGraph(found.size, (), (), (), found.photo).draw()
    # Boxes and arrows are on the photo: where it was gray, there are colors.
    drawn = np.asarray(picture, int)
    assert np.abs(drawn - drawn.mean(-1, keepdims=True)).max() > 60
    gray = np.asarray(plain, int)
    assert np.abs(gray - gray.mean(-1, keepdims=True)).max() < 5


@pytest.fixture(scope="module", params=["views", "pooled"])
def tiny(request, small_data):
    tokenizer = Tokenizer.load(shards.dataset_dir(small_data) / "tokenizer.json")
    arguments = tiny_model.sizes(tokenizer.eos_id) | {"regions": request.param}
    arguments["text"] = arguments["text"] | {"vocab_size": tokenizer.vocab_size}
    _, params = parameters.create(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    return Model(ModelSpec(arguments, dict.fromkeys(LEVELS, 12)), params, tokenizer)


@pytest.mark.slow
def test_a_models_own_embeddings_give_its_scene_graph(tiny, small_data):
    scene = shards.open_split(small_data, "test")[0]
    words = {"objects": ["red circle", "blue square"], "predicates": ["above", "left of"]}
    found = tiny.describe(scene.photo, scene.object_boxes[:3], words=words)
    assert len(found.objects) == 3
    assert len(found.relations) == 3
    for each in found.relations:
        ends = [found.objects[i] for i in sorted((each.subject, each.object))]
        texts = [
            f"{a.name} {predicate} {b.name}"
            for a, b in (ends, ends[::-1])
            for predicate in words["predicates"]
        ]
        texts = list(dict.fromkeys(texts))
        image = tiny.encode_relations(scene.photo, [[end.box for end in ends]])
        cosines = tiny.similarity(image, tiny.encode_text(texts, "relation"))[0]
        shares = np.exp(tiny.logit_scale("relation") * (cosines - cosines.max()))
        shares /= shares.sum()
        assert found.text(each) == texts[int(shares.argmax())]
        names = ends[0].score * ends[1].score
        assert each.score == pytest.approx(shares.max() * names, rel=1e-4)


@pytest.mark.slow
def test_the_share_of_a_box_that_a_model_sees(tiny):
    """By the center crop of a wide photo: x from 100 to 200 of 300."""
    boxes = np.float32([[0, 0, 50, 50], [150, 0, 250, 100], [110, 10, 190, 90], [90, 0, 110, 9]])
    np.testing.assert_allclose(tiny.share_in_view(boxes, (300, 100)), [0, 0.5, 1, 0.5], atol=0.02)
    photo = np.random.default_rng(0).integers(0, 256, (100, 300, 3), np.uint8)
    words = {"objects": ["red circle", "blue square"]}
    found = tiny.describe(photo, boxes, words=words)
    assert [bool(each.name) for each in found.objects] == [False, True, True, True]


@pytest.mark.parametrize("level", ["object", "relation"])
def test_embeddings_that_are_nan_are_named(model, monkeypatch, level):
    name = f"encode_{level}s"
    encode = getattr(model, name)
    monkeypatch.setattr(model, name, lambda *asked: np.nan * encode(*asked))
    with pytest.raises(NotFiniteError, match=f"at the level '{level}' hold NaN"):
        describe(model, PHOTO, BOXES, words=WORDS)


def test_json_holds_null_instead_of_nan():
    photo = Image.fromarray(PHOTO)
    actions = (Scored("riding", math.nan), Scored("sleeping", math.inf))
    text = SceneGraph((200, 100), actions, (), (), photo).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["actions"] == [
        {"text": "riding", "score": None},
        {"text": "sleeping", "score": None},
    ]


def test_texts_that_a_model_cuts(tiny):
    long = "a " * 30 + "red circle"
    assert tiny.cut_texts(["red circle", long], "object") == [long]
