from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from scenarioclip_jax.annotate.models import segmenter as module
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.models.segmenter import BoxSegmenter
from scenarioclip_jax.annotate.results import Failure, Photo
from scenarioclip_jax.annotate.settings import SegmentSettings
from tests.annotate.models import tiny
from tests.annotate.models.photos import broken, photo

KINDS = ("Sam", "Sam2", "Sam3Tracker")
SIDE = 64


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenters")
    return {kind: tiny.sam(folder / kind, kind, SIDE) for kind in KINDS}


@pytest.fixture
def make(folders):
    def make(kind, batch=2):
        return BoxSegmenter(SegmentSettings(model=folders[kind], batch=batch))

    return make


def decoded(mask):
    return run_lengths.decode({"size": list(mask.size), "counts": mask.counts}).astype(bool)


def draws_boxes(segmenter):
    """Has a network draw each box, as what it expects to be the best of three masks."""
    import torch

    asked = []

    def forward(image_embeddings, input_boxes, multimask_output):
        asked.append(input_boxes)
        assert multimask_output
        count, cells = input_boxes.shape[1], SIDE // 4
        masks = torch.full((1, count, 3, cells, cells), 10.0)
        scores = torch.zeros(1, count, 3)
        centers = (torch.arange(cells) + 0.5) * 4
        for place, (x0, y0, x1, y1) in enumerate(input_boxes[0]):
            best = place % 3
            inside = ((centers >= y0) & (centers < y1))[:, None] & (centers >= x0) & (centers < x1)
            masks[0, place, best] = torch.where(inside, 10.0, -10.0)
            scores[0, place, best] = 0.5 + place / 5
        return SimpleNamespace(pred_masks=masks, iou_scores=scores)

    segmenter._model.forward = forward
    return asked


@pytest.mark.parametrize("kind", KINDS)
def test_the_real_classes_give_a_mask_for_each_box(make, kind):
    segmenter = make(kind)
    assert type(segmenter._model).__name__ == f"{kind}Model"
    requests = [
        (photo("1", (64, 48), 1), [(0, 0, 10, 10), (10, 10, 60, 40)]),
        (photo("2", (30, 48), 2), [(1, 1, 20, 30)]),
        (photo("3", (30, 48), 3), []),
    ]
    found = dict(segmenter.segment(requests))
    assert {id: len(masks) for id, masks in found.items()} == {"1": 2, "2": 1, "3": 0}
    for each, _ in requests:
        for mask in found[each.id]:
            assert mask.size == each.size[::-1]
            assert decoded(mask).shape == each.size[::-1]
            assert 0 <= mask.score <= 1
    # What else is in the batch makes no difference.
    for request in requests:
        ((_, alone),) = make(kind, batch=1).segment([request])
        for one, other in zip(alone, found[request[0].id], strict=True):
            assert (decoded(one) == decoded(other)).mean() > 0.98


@pytest.mark.parametrize("size", [(128, 64), (40, 100), (64, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_in_photo_pixels_and_in_the_order_of_boxes(make, kind, size, monkeypatch):
    monkeypatch.setattr(module, "_BOXES", 2)
    segmenter = make(kind)
    asked = draws_boxes(segmenter)
    width, height = size
    boxes = [
        (0.0, 0.0, width / 2, height / 2),
        (width / 2, 0.0, float(width), float(height)),
        (width / 4, height / 2, width * 3 / 4, float(height)),
    ]
    (answer,) = segmenter.segment([(photo(size=size), boxes)])
    assert [len(each[0]) for each in asked] == [2, 1]
    assert [mask.score for mask in answer.result] == pytest.approx([0.5, 0.7, 0.5])
    rows, columns = np.mgrid[:height, :width] + 0.5
    for mask, (x0, y0, x1, y1) in zip(answer.result, boxes, strict=True):
        wanted = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
        union = (wanted | decoded(mask)).sum()
        assert (wanted & decoded(mask)).sum() / union > 0.7, (mask, x0, y0, x1, y1)


@pytest.mark.parametrize(("kind", "lower"), [("Sam", 32), ("Sam2", 64), ("Sam3Tracker", 64)])
def test_sam_pads_photos_and_the_others_stretch_them(make, kind, lower):
    segmenter = make(kind)
    asked = draws_boxes(segmenter)
    seen = []
    embed = segmenter._model.get_image_embeddings
    segmenter._model.get_image_embeddings = lambda pixels: seen.append(pixels) or embed(pixels)
    white = Image.new("RGB", (128, 64), (255, 255, 255))
    list(segmenter.segment([(Photo("a", white.size, lambda: white), [(0, 0, 128, 64)])]))
    assert asked[0].tolist() == [[[0, 0, 64, lower]]]
    pixels = seen[0][0].numpy()
    wanted = (1 - np.array([0.4, 0.5, 0.6])) / [0.2, 0.25, 0.3]
    assert np.allclose(pixels[:, :lower], wanted[:, None, None], atol=1e-5)
    assert (pixels[:, lower:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_of_an_embedding_in_bfloat16_are_decoded_in_float32(make, kind):
    import torch

    segmenter = make(kind)
    embed, forward, seen = segmenter._model.get_image_embeddings, segmenter._model.forward, []

    def half(pixels):
        found = embed(pixels)
        if isinstance(found, torch.Tensor):
            return found.bfloat16()
        return [each.bfloat16() for each in found]

    def spy(**inputs):
        seen.append(inputs["input_boxes"].dtype)
        return forward(**inputs)

    segmenter._model.get_image_embeddings, segmenter._model.forward = half, spy
    ((_, found),) = segmenter.segment([(photo(), [(0, 0, 10, 10)])])
    assert len(found) == 1
    assert seen == [torch.float32]


@pytest.mark.parametrize("size", [(100, 64), (37, 90), (20, 20)])
def test_the_preparation_is_that_of_the_processor_of_sam(make, size):
    import torch
    import transformers

    processor = transformers.SamProcessor(
        transformers.SamImageProcessorPil(
            size={"longest_edge": SIDE},
            pad_size={"height": SIDE, "width": SIDE},
            image_mean=[0.4, 0.5, 0.6],
            image_std=[0.2, 0.25, 0.3],
        )
    )
    assert_same_as(processor, make("Sam"), size, torch)


@pytest.mark.parametrize("size", [(100, 64), (37, 90), (20, 20)])
@pytest.mark.parametrize("kind", ["Sam2", "Sam3Tracker"])
def test_the_preparation_is_that_of_the_processors_of_sam_2_and_sam_3(make, kind, size):
    pytest.importorskip("torchvision", reason="the processor needs torchvision")
    import torch
    import transformers

    images = "Sam2ImageProcessor" if kind == "Sam2" else "Sam3ImageProcessor"
    processor = getattr(transformers, f"{kind}Processor")(
        getattr(transformers, images)(
            size={"height": SIDE, "width": SIDE},
            image_mean=[0.4, 0.5, 0.6],
            image_std=[0.2, 0.25, 0.3],
        )
    )
    assert_same_as(processor, make(kind), size, torch)


def assert_same_as(processor, segmenter, size, torch):
    """Holds pixels, boxes and masks against those of a processor of transformers."""
    each, boxes = photo(size=size), [[2.0, 3.0, 15.0, 12.5], [0.0, 0.0, 20.0, 20.0]]
    wanted = processor(images=each.open(), input_boxes=[boxes], return_tensors="pt")
    pixels, fit = segmenter._prepare(each.open())
    # Some round the resized photo to whole numbers, some don't: a step of 1 / 255, over the deviation.
    assert np.abs(pixels - wanted["pixel_values"][0].numpy()).max() < 1.01 / 255 / 0.2
    asked = draws_boxes(segmenter)
    list(segmenter.segment([(each, boxes)]))
    assert torch.allclose(asked[0].double(), wanted["input_boxes"].double(), atol=1e-4)
    logits = torch.randn(1, 1, 16, 16)
    sizes = [wanted["original_sizes"]]
    if "reshaped_input_sizes" in wanted:
        sizes.append(wanted["reshaped_input_sizes"])
    (masks,) = processor.post_process_masks([logits], *sizes)
    assert (masks[0, 0] == (module.upscale(logits[0, 0], fit, size) > 0)).all()


def test_a_broken_photo_is_a_failure_and_the_others_go_on(make):
    box = [(0, 0, 10, 10)]
    found = dict(make("Sam").segment([(photo("1"), box), (broken("2"), box), (photo("3"), box)]))
    assert found["2"] == Failure("unreadable_photo", "OSError: image file is truncated")
    assert len(found["1"]) == len(found["3"]) == 1


def test_a_photo_of_another_size_than_it_was_is_a_failure(make):
    image = Image.new("RGB", (10, 20))
    ((_, found),) = make("Sam").segment([(Photo("a", (20, 10), lambda: image), [(0, 0, 5, 5)])])
    assert found.kind == "unreadable_photo"
    assert "(10, 20)" in found.detail


def test_the_weights_of_sam_2_are_those_of_videos(tmp_path):
    import torch
    import transformers

    folder = tiny.sam2_video(tmp_path / "a")
    segmenter = BoxSegmenter(SegmentSettings(model=folder))
    assert type(segmenter._model) is transformers.Sam2Model
    wanted = transformers.Sam2VideoModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(wanted[k], v) for k, v in segmenter._model.state_dict().items())
    ((_, found),) = segmenter.segment([(photo(), [(0, 0, 10, 10)])])
    assert len(found) == 1


def test_the_weights_of_sam_3_are_those_of_videos(tmp_path):
    import torch
    import transformers

    segmenter = BoxSegmenter(SegmentSettings(model=tiny.sam3_video(tmp_path / "a")))
    assert type(segmenter._model) is transformers.Sam3TrackerModel
    wanted = transformers.Sam3TrackerModel.from_pretrained(tmp_path / "a-image").state_dict()
    assert all(torch.equal(wanted[k], v) for k, v in segmenter._model.state_dict().items())
    ((_, found),) = segmenter.segment([(photo(), [(0, 0, 10, 10)])])
    assert len(found) == 1


def test_weights_that_are_missing_are_said(folders, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "a"
    shutil.copytree(folders["Sam2"], folder)
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 of the weights.*mask_decoder\.iou_token"):
        BoxSegmenter(SegmentSettings(model=str(folder)))


def test_a_model_of_another_family_is_said(tmp_path):
    import transformers

    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="family bert"):
        BoxSegmenter(SegmentSettings(model=str(tmp_path)))


def test_weights_without_settings_of_photos_are_said(folders, tmp_path):
    import shutil

    shutil.copytree(folders["Sam"], tmp_path / "a")
    (tmp_path / "a" / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        BoxSegmenter(SegmentSettings(model=str(tmp_path / "a")))
