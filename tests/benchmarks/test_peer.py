"""The benchmarks' peer is the published algorithm: its figures are those of the published implementation."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTextConfig, CLIPVisionConfig

from benchmarks import scenes
from benchmarks.peer import transforms
from benchmarks.peer.dataset import Collate, PeerDataset, only_box
from benchmarks.peer.model import LEVELS, PeerModel
from benchmarks.peer.training import PeerBatch, Trainer, published_decay
from tests import golden


def model(name: str) -> PeerModel:
    """The golden model with the weights of a golden file."""
    peer = PeerModel(
        CLIPVisionConfig(**golden.META["vision_config"]),
        CLIPTextConfig(**golden.META["text_config"]),
        frozen_vision=golden.META["frozen_vision_layers"],
        frozen_text=golden.META["frozen_text_layers"],
    )
    weights = {}
    for key, value in golden.arrays(name).items():
        level, rest = key.split("_", 1)
        rest = rest.replace("vision_model.", "").replace("text_model.", "")
        weights[f"branches.{level}.{rest}"] = torch.from_numpy(value)
    peer.load_state_dict(weights)
    return peer


def batch() -> PeerBatch:
    data = {name: torch.from_numpy(value) for name, value in golden.arrays("inputs").items()}
    return PeerBatch(
        {level: data[golden.INPUT_NAMES[level][0]] for level in LEVELS},
        {level: data[golden.INPUT_NAMES[level][1]] for level in LEVELS},
        {v: torch.from_numpy(golden.owners(v)).long() for v in ("object", "relation")},
    )


def test_losses_gradients_and_six_steps_are_the_published_ones():
    trainer = Trainer(
        model("scenario_clip_1_params"),
        steps=10,
        peak=1e-3,
        warmup_fraction=0.2,
        decay=lambda step: 1.0,  # the golden teacher stays as it is
        teacher=model("scenario_clip_1_teacher_params"),
    )
    assert len(trainer.parameters) == len(golden.META["scenario_clip_1"]["trainable"])
    for figures in golden.META["scenario_clip_1"]["trajectory"]:
        ours = trainer.step(batch())
        for name, figure in figures.items():
            if name != "step":
                assert ours[name] == pytest.approx(figure, abs=2e-5), (figures["step"], name)
    after = golden.arrays("scenario_clip_1_results")
    weights = dict(trainer.model.branches["object"].named_parameters())
    for name in ("visual_encoder.pre_layrnorm.weight", "text_projection.weight"):
        theirs = after["after_6_steps/object_" + name.replace("r.pre", "r.vision_model.pre")]
        np.testing.assert_allclose(weights[name].detach(), theirs, atol=5e-5)


def test_the_teacher_follows_the_student():
    trainer = Trainer(model("scenario_clip_1_params"), steps=10, decay=lambda step: 0.75)
    (name, start) = next(
        (n, p.clone())
        for n, p in trainer.model.named_parameters()
        if p.ndim > 1 and p.requires_grad
    )
    trainer.step(batch())
    student, teacher = (dict(m.named_parameters())[name] for m in (trainer.model, trainer.teacher))
    torch.testing.assert_close(teacher, 0.75 * start + 0.25 * student.detach())
    assert published_decay(1000) == pytest.approx(0.9995 / 2)
    assert math.isclose(published_decay(5000), 0.9995)


def test_pictures_are_the_published_ones():
    """Evaluation's pixels; training's differ from them by the random draws alone."""
    photo = Image.open(golden.FOLDER / "scene.png").convert("RGB")
    figures = golden.arrays("transforms")
    views = {"global": photo}
    views |= {f"object_{i}": only_box(photo, box) for i, box in enumerate(figures["boxes"])}
    for name, image in views.items():
        ours = np.asarray(transforms.resize_and_crop(image))
        np.testing.assert_array_equal(ours, figures[name], err_msg=name)
    pixels = transforms.to_tensor(transforms.resize_and_crop(photo))
    np.testing.assert_allclose(pixels.mean((1, 2)), figures["global_normalised_mean"], atol=1e-4)


def test_a_batch_of_drawn_scenes(tmp_path):
    drawn = scenes.draw_scenes(3, seed=5)
    scenes.write_root(tmp_path, drawn)
    tokenizer = scenes.word_tokenizer()
    dataset = PeerDataset(tmp_path)
    ready = Collate(tokenizer.encode, tokenizer.eos_id)([dataset[i] for i in range(3)])
    assert ready.images["global"].shape == (3, 3, 224, 224)
    for level, counts in (
        ("object", [len(s.names) for s in drawn]),
        ("relation", [len(s.relations) for s in drawn]),
    ):
        assert ready.images[level].shape == (sum(counts), 3, 224, 224)
        assert torch.bincount(ready.owners[level]).tolist() == counts
        ids = ready.ids[level]
        assert (ids == tokenizer.eos_id).any(1).all()
        assert (ids[:, -2] != tokenizer.eos_id).any()  # no longer than the longest
