import math
from types import SimpleNamespace

import pytest

from scenarioclip_jax.annotate.models.detector import ZeroShotDetector
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.annotate.settings import DetectSettings
from tests.annotate.models import tiny
from tests.annotate.models.photos import broken, photo

KINDS = ("GroundingDino", "MMGroundingDino", "Owlv2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    made = {kind: tiny.grounding_dino(folder / kind, kind) for kind in KINDS[:2]}
    return made | {"Owlv2": tiny.owlv2(folder / "Owlv2")}


@pytest.fixture
def make(folders):
    """Loads a detector of a kind with some settings."""

    def make(kind="GroundingDino", **settings):
        return ZeroShotDetector(DetectSettings(model=folders[kind], **{"batch": 2} | settings))

    return make


def says(detector, logits, boxes):
    """Has a detector's network say the same of every photo.

    Args:
      detector: The detector.
      logits: Of each box a dictionary from a text's or token's place to its logit.
      boxes: Of each box its center, width and height, as shares.
    """
    import torch

    asked = []

    def forward(**inputs):
        asked.append(inputs)
        photos = len(inputs["pixel_values"])
        tokens = inputs["input_ids"].shape[-1]
        width = max(tokens, inputs["input_ids"].numel() // (tokens * photos))
        said = torch.full((photos, len(boxes), width), -10.0)
        for place, each in enumerate(logits):
            for token, logit in each.items():
                said[:, place, token] = logit
        return SimpleNamespace(logits=said, pred_boxes=torch.tensor([boxes] * photos))

    detector._find._model.forward = forward
    return asked


def rounded(detections):
    return [
        (d.name, tuple(round(side, 3) for side in d.box), round(d.score, 3), d.label)
        for d in detections
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_real_classes_find_boxes_in_the_photo(make, kind):
    detector = make(kind, threshold=0.0, text_threshold=0.0, overlap=0.99)
    assert type(detector._find._model).__name__ == f"{kind}ForObjectDetection"
    photos = [photo(str(i), size, i) for i, size in enumerate([(64, 48), (30, 60), (50, 50)])]
    names = (["dog", "umbrella"], ["cat"], [])
    found = dict(detector.detect(zip(photos, names, strict=True)))
    assert list(found) == ["0", "1", "2"]
    assert found["2"] == []
    if kind != "Owlv2":  # whose random weights make boxes without height
        assert found["0"]
        assert found["1"]
    for each, wanted in zip(photos, names, strict=True):
        for detection in found[each.id]:
            assert detection.name in wanted
            x0, y0, x1, y1 = detection.box
            assert 0 <= x0 < x1 <= each.size[0]
            assert 0 <= y0 < y1 <= each.size[1]
            assert 0 <= detection.score <= 1
        scores = [detection.score for detection in found[each.id]]
        assert scores == sorted(scores, reverse=True)


def test_words_of_one_text_become_names_and_shares_become_pixels(make):
    detector = make(threshold=0.5, text_threshold=0.6)
    # [CLS] dog . um ##brella . red car . [SEP]
    asked = says(
        detector,
        [
            {1: 3.0, 3: 0.1},  # the second is above the threshold, below that of texts
            {3: 2.0, 4: 2.5},
            {4: 1.5, 9: 1.0},
            {7: 1.0, 1: 0.9},  # two names: all of one, half of the other
            {6: -1.0},  # below the threshold
            {2: 4.0},  # a period
            {1: 5.0},
            {1: 5.0},
        ],
        [
            (0.5, 0.5, 0.2, 0.4),
            (0.2, 0.5, 0.1, 0.1),
            (0.95, 0.9, 0.2, 0.4),  # over two edges
            (0.5, 0.2, 0.1, 0.1),
            (0.5, 0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5, 0.5),
            (math.nan, 0.5, 0.5, 0.5),
            (0.5, 0.5, 0.001, 0.5),  # a fifth of a pixel
        ],
    )
    (answer,) = detector.detect([(photo(size=(200, 100)), ["dog", "Umbrella", "red car"])])
    decode = detector._find._processor.tokenizer.decode
    assert decode(asked[0]["input_ids"][0]) == "[CLS] dog. umbrella. red car. [SEP]"
    sigmoid = lambda x: round(1 / (1 + math.exp(-x)), 3)  # noqa: E731
    assert rounded(answer.result) == [
        ("dog", (80, 30, 120, 70), sigmoid(3), ""),
        ("Umbrella", (30, 45, 50, 55), sigmoid(2.5), "umbrella"),
        ("Umbrella", (170, 70, 200, 100), sigmoid(1.5), "##brella"),
        ("dog", (90, 15, 110, 25), sigmoid(1), "dog car"),
    ]


def test_places_in_lists_become_names_and_squares_become_pixels(make):
    detector = make("Owlv2", threshold=0.5)
    boxes = [(0.25, 0.25, 0.1, 0.2), (0.5, 0.25, 0.5, 0.5), (0.5, 0.9, 0.1, 0.1)]
    asked = says(detector, [{0: 1.0}, {1: 2.0, 0: 1.0}, {1: 3.0}], boxes)
    (answer,) = detector.detect([(photo(size=(200, 100)), ["dog", "cat"])])
    # The photo fills the upper half of a square of 200 pixels; the last box is below it.
    assert rounded(answer.result) == [
        ("cat", (50, 0, 150, 100), 0.881, ""),
        ("dog", (40, 30, 60, 70), 0.731, ""),
    ]
    text = detector._find._processor.tokenizer.decode(
        asked[0]["input_ids"][1], skip_special_tokens=True
    )
    assert text == "a photo of a cat"


def test_boxes_that_repeat_another_and_too_many_of_a_name_are_left_out(make):
    boxes = [
        (0.5, 0.5, 0.2, 0.2),
        (0.51, 0.5, 0.2, 0.2),
        (0.2, 0.2, 0.1, 0.1),
        (0.8, 0.8, 0.1, 0.1),
    ]
    logits = [{1: 1.0}, {1: 2.0}, {1: 0.5}, {1: 0.4}]
    for settings, wanted in (
        ({"overlap": 0.6}, 3),
        ({"overlap": 0.95}, 4),
        ({"max_boxes": 2}, 2),
    ):
        detector = make(threshold=0.5, text_threshold=0.5, **settings)
        says(detector, logits, boxes)
        (answer,) = detector.detect([(photo(size=(200, 100)), ["dog"])])
        assert len(answer.result) == wanted, settings


def test_names_that_do_not_fit_into_one_text_are_asked_for_in_several(make):
    detector = make(threshold=0.5, batch=1)
    asked = says(detector, [{1: 1.0}], [(0.5, 0.5, 0.2, 0.2)])
    names = ["dog", "red car", "umbrella", "cat", "St. Dog", "car dog cat red"]
    (answer,) = detector.detect([(photo(), names)])
    decode = detector._find._processor.tokenizer.decode
    texts = [decode(row) for inputs in asked for row in inputs["input_ids"]]
    assert texts == [
        "[CLS] dog. red car. umbrella. cat. [SEP]",  # 14 tokens, the most
        "[CLS] [UNK] dog. car dog cat red. [SEP]",
    ]
    # The first word of each text; the second is of "st. dog".
    assert {d.name for d in answer.result} == {"dog"}


def test_a_name_that_is_too_long_by_itself_is_cut(make):
    detector = make(threshold=0.5)
    asked = says(detector, [{1: 1.0}], [(0.5, 0.5, 0.2, 0.2)])
    (answer,) = detector.detect([(photo(), ["dog " * 30])])
    assert asked[0]["input_ids"].shape == (1, 14)
    assert len(answer.result) == 1


def test_nothing_is_found_of_what_fills_a_shorter_list_of_names(make):
    import torch

    detector = make("Owlv2", threshold=0.5, batch=2)
    network, sizes = detector._find._model.forward, []

    def forward(**inputs):
        """Every text is found in every square, but for those that the network leaves out."""
        outputs = network(**inputs)
        sizes.append(len(outputs.logits))
        texts = torch.arange(outputs.logits.shape[-1], dtype=torch.float32) + 1
        outputs.logits = torch.where(outputs.logits < -1e30, outputs.logits, texts)
        places = torch.linspace(0.2, 0.8, outputs.pred_boxes.shape[1])[None, :, None]
        boxes = torch.cat([places, places, *[torch.full_like(places, 0.1)] * 2], -1)
        outputs.pred_boxes = boxes.expand(len(outputs.logits), -1, -1)
        return outputs

    detector._find._model.forward = forward
    requests = [
        (photo("1", (40, 40), 1), ["dog"]),
        (photo("2", (40, 40), 2), ["cat", "car", "hat"]),
    ]
    found = dict(detector.detect(requests))
    assert sizes == [2], "the batch failed and was tried photo by photo"
    assert [detection.name for detection in found["1"]] == ["dog"] * 4
    assert [detection.name for detection in found["2"]] == ["hat"] * 4


def test_a_broken_photo_is_a_failure_and_the_others_go_on(make):
    detector = make(threshold=0.0)
    requests = [(photo("1"), ["dog"]), (broken("2"), ["dog"]), (photo("3"), ["dog"])]
    found = dict(detector.detect(requests))
    assert found["2"] == Failure("unreadable_photo", "OSError: image file is truncated")
    assert isinstance(found["1"], list)
    assert isinstance(found["3"], list)


def test_a_model_of_another_kind_is_said(tmp_path):
    import transformers

    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9
    )
    tiny.grounding_dino(tmp_path / "a")  # its processor
    transformers.BertModel(config).save_pretrained(tmp_path / "a")
    with pytest.raises(ModelError, match="AutoModelForZeroShotObjectDetection"):
        ZeroShotDetector(DetectSettings(model=str(tmp_path / "a")))


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(ModelError, match="Check the name or folder"):
        ZeroShotDetector(DetectSettings(model=str(tmp_path)))
