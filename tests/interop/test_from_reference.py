"""`from-reference`: Lightning checkpoints of the published implementation, and nothing else in the file."""

import argparse
import json
import os
import pickle

import numpy as np
import pytest
import tokenizers
from flax import nnx

from scenarioclip_jax import checkpoint, convert
from scenarioclip_jax.interop import initial, lightning
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from scenarioclip_jax.shell import to_paste
from tests import golden
from tests.interop import helpers
from tests.train.test_golden import embed, results

torch = pytest.importorskip("torch")

ARCHITECTURES = ("pyramid_clip", "scenario_clip_0", "scenario_clip_1")
SCALE = "student_teacher_loss_fn.distillation_loss_fn.logit_scale_s"


def state_dict(arch: str, *, infix: bool = True) -> dict:
    """A state_dict as Lightning saves it."""
    arrays = golden.arrays(
        f"{'pyramid_clip' if arch == 'pyramid_clip' else 'scenario_clip_1'}_params"
    )
    state = {f"model.{name}": torch.from_numpy(value) for name, value in arrays.items()}
    if not infix:
        state = {
            k.replace("vision_model.", "").replace("text_model.", ""): v for k, v in state.items()
        }
    for level in LEVELS:
        state[f"{level}_loss.logit_scale"] = torch.tensor(np.float32(np.log(1 / 0.07)))
    if arch == "scenario_clip_1":
        state[SCALE] = torch.tensor(np.float32(np.log(1 / 0.07)))
    return state


def teacher_state() -> dict:
    arrays = golden.arrays("scenario_clip_1_teacher_params")
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def student_with_teachers_frozen_part() -> dict:
    """A student whose frozen arrays are the teacher's, as in a real run (the golden teacher's aren't)."""
    state = state_dict("scenario_clip_1")
    frozen = set(golden.META["scenario_clip_1"]["frozen"])
    teacher = teacher_state()
    return {
        k: teacher[name] if (name := k.removeprefix("model.")) in frozen else v
        for k, v in state.items()
    }


@pytest.fixture
def clip_config(tmp_path):
    """config.json and tokenizer of the CLIP model that the golden figures are built on."""
    sizes = {}
    for tower, config in (("vision", golden.VISION), ("text", golden.TEXT)):
        sizes[tower] = {k: getattr(config, k) for k in helpers.THEIRS if hasattr(config, k)}
    folder = tmp_path / "clip"
    folder.mkdir()
    config = helpers.clip_config(sizes["vision"], sizes["text"], 512, eos_id=119)
    (folder / "config.json").write_text(json.dumps(config))
    vocab = {f"t{i}": i for i in range(118)} | {"<|startoftext|>": 118, "<|endoftext|>": 119}
    words = tokenizers.models.WordLevel(vocab, unk_token="t0")
    tokenizers.Tokenizer(words).save(str(folder / "tokenizer.json"))
    return folder / "config.json"


def run(checkpoint_file, output, clip_config, *flags):
    convert.main(
        [
            "from-reference",
            f"--checkpoint={checkpoint_file}",
            f"--output={output}",
            f"--clip-config={clip_config}",
            *map(str, flags),
        ]
    )
    return checkpoint.ModelSpec.read(output), *checkpoint.load_student_and_ema(output)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("infix", [True, False])
def test_all_architectures(tmp_path, clip_config, arch, infix):
    state = state_dict(arch, infix=infix)
    state["model.text_encoder.text_model.embeddings.position_ids"] = torch.arange(20)[None]
    file = tmp_path / "last.ckpt"
    # What Lightning keeps beside the weights.
    extras = {"epoch": 3, "global_step": 1234, "pytorch-lightning_version": "2.4.0"}
    extras |= {"hyper_parameters": {"lr": 2e-5, "args": argparse.Namespace(batch=8)}}
    extras |= {"callbacks": {"ModelCheckpoint": {"best_model_path": "a.ckpt"}}, "loops": {"a": [1]}}
    torch.save({"state_dict": state, **extras}, file)
    spec, params, ema, step = run(file, tmp_path / "out", clip_config)
    assert (spec.model["arch"], step, ema) == (arch, 1234, None)
    # These are the parameters that the golden tests compute the published figures with.
    helpers.assert_same(params, golden.params(arch))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["inside", "file", "bare_file"])
def test_teacher(tmp_path, clip_config, where, capsys):
    file, beside = tmp_path / "last.ckpt", tmp_path / "last_ema_teacher.pt"
    student = student_with_teachers_frozen_part()
    ema = {"teacher_state": teacher_state(), "steps": 9, "decay": 0.9995, "warmup_steps": 2000}
    torch.save({"state_dict": student} | ({"ema": ema} if where == "inside" else {}), file)
    flags = []
    if where != "inside":
        torch.save(ema if where == "file" else ema["teacher_state"], beside)
        flags = ["--ema", beside]
    spec, params, found, _ = run(file, tmp_path / "out", clip_config, *flags)
    teacher = golden.params("scenario_clip_1", teacher=True)
    trained = {p for p in params if not initial.FROZEN.fullmatch(p)} - {
        f"logit_scale/{level}" for level in LEVELS
    }
    helpers.assert_same(found, {path: teacher[path] for path in trained})
    assert "differ" not in capsys.readouterr().err
    # What --weights ema gives is the teacher, its figures included.
    if where == "inside":
        ours = embed("scenario_clip_1", checkpoint.load_params(tmp_path / "out", weights="ema")[0])
        for level in LEVELS:
            figure = results("scenario_clip_1")[f"teacher_embed/{level}_image"]
            np.testing.assert_allclose(ours.image[level], figure, atol=1e-5)
    # And training starts with a whole teacher.
    student, teacher, ema_steps = initial.init_from(str(tmp_path / "out"), spec.model)
    known = {"steps": 9, "decay": 0.9995, "warmup_steps": 2000} if where != "bare_file" else {}
    assert checkpoint.load_record(tmp_path / "out", 0, "teacher") == known
    assert ema_steps == known.get("steps")
    assert teacher.keys() == student.keys()
    np.testing.assert_array_equal(
        teacher["vision/head/object/norm/bias"], found["vision/head/object/norm/bias"]
    )


def test_a_teacher_with_other_frozen_weights_is_kept_whole_and_reported(
    tmp_path, clip_config, capsys
):
    file = tmp_path / "last.ckpt"
    torch.save(
        {"state_dict": state_dict("scenario_clip_1"), "ema": {"teacher_state": teacher_state()}},
        file,
    )
    run(file, tmp_path / "out", clip_config)
    # Per level: 3 of the vision embeddings, 2 of the text ones, 12 arrays in each stem's blocks.
    assert "87 of 87 frozen arrays differ from the student's" in capsys.readouterr().err
    params, _ = checkpoint.load_params(tmp_path / "out", weights="ema")
    helpers.assert_same(params, golden.params("scenario_clip_1", teacher=True))


def test_forgotten_teacher_and_trained_scale_are_mentioned(tmp_path, clip_config, capsys):
    state = state_dict("scenario_clip_1")
    state[SCALE] = torch.tensor(2.0)
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    torch.save(teacher_state(), tmp_path / "epoch_ema_teacher.pt")
    run(tmp_path / "last.ckpt", tmp_path / "out", clip_config)
    said = capsys.readouterr().err
    assert "holds no teacher" in said
    assert f"add {to_paste('--ema', tmp_path / 'epoch_ema_teacher.pt')}" in said
    assert "a distillation temperature of 0.1353" in said


def test_shared_stem_needs_equal_stems(tmp_path, clip_config):
    state = state_dict("scenario_clip_1")
    stems = ("embeddings", "pre_layrnorm", "layers.0.", "layers.1.")
    for name in list(state):
        if "encoder." in name and any(part in name for part in stems):
            for level in ("object", "relation"):
                if name.startswith("model.global_"):
                    state[name.replace("global_", f"{level}_")] = state[name]
    torch.save({"state_dict": state}, tmp_path / "equal.ckpt")
    _, params, _, _ = run(tmp_path / "equal.ckpt", tmp_path / "out", clip_config, "--share-stem")
    assert {p.split("/")[2] for p in params if "/stem/" in p} == {"shared"}
    torch.save({"state_dict": state_dict("scenario_clip_1")}, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit, match=r"stems differ and can't be shared: .*no --share-stem"):
        run(tmp_path / "other.ckpt", tmp_path / "no", clip_config, "--share-stem")
    assert not (tmp_path / "no").exists()


def test_wrong_parameters_are_listed_and_nothing_is_written(tmp_path, clip_config):
    state = state_dict("scenario_clip_1")
    del state["model.object_image_norm.bias"]
    state["model.extra.weight"] = torch.zeros(2)
    name = "relation_text_encoder.text_model.encoder.layers.1.mlp.fc1.weight"
    state[f"model.{name}"] = torch.zeros(48, 23)
    torch.save({"state_dict": state}, tmp_path / "bad.ckpt")
    with pytest.raises(SystemExit) as raised:
        run(tmp_path / "bad.ckpt", tmp_path / "out", clip_config)
    message = str(raised.value)
    assert "bad.ckpt (read as scenario_clip_1)" in message
    assert "missing (1):\n    object_image_norm.bias (512,)" in message
    assert "unexpected (1):\n    extra.weight (2,)" in message
    short = name.replace("text_model.", "")
    assert f"of another shape (1):\n    {short} is (48, 23), expected (48, 24)" in message
    # A teacher is checked alike.
    teacher = teacher_state()
    del teacher["global_text_norm.bias"]
    torch.save(
        {"state_dict": state_dict("scenario_clip_1"), "ema": {"teacher_state": teacher}},
        tmp_path / "bad.ckpt",
    )
    with pytest.raises(
        SystemExit, match=r"\(teacher\).*\n.*missing \(1\):\n    global_text_norm.bias"
    ):
        run(tmp_path / "bad.ckpt", tmp_path / "out", clip_config)
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*out*"))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_nothing_in_the_file_is_ever_run(tmp_path, clip_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = state_dict("pyramid_clip")
    torch.save({"state_dict": state, "callbacks": Bomb()}, "bomb.ckpt")
    with pytest.raises(SystemExit, match=r"refused, as it holds objects of posix.mkdir"):
        run("bomb.ckpt", "out", clip_config)
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(SystemExit, match="refused"):
        run("plain.ckpt", "out", clip_config)
    # The same for a teacher's file and for a Hugging Face .bin.
    torch.save({"state_dict": state}, "fine.ckpt")
    with pytest.raises(SystemExit, match="refused"):
        run("fine.ckpt", "out", clip_config, "--ema=bomb.ckpt")
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "out").exists()
    torch.load("bomb.ckpt", weights_only=False)  # the bomb is a real one
    assert (tmp_path / "exploded").exists()


def test_other_files_are_refused(tmp_path, clip_config):
    def message(file, *flags):
        with pytest.raises(SystemExit) as raised:
            run(file, tmp_path / "out", clip_config, *flags)
        assert not (tmp_path / "out").exists()
        return str(raised.value)

    assert "no such file" in message(tmp_path / "absent.ckpt")
    file = tmp_path / "x.ckpt"
    torch.save({"state_dict": state_dict("pyramid_clip")}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "x.ckpt: " in (said := message(file))
    assert "copy it again" in said or "refused" in said
    torch.save({"weights": {"a": torch.zeros(1)}}, file)
    assert "holds no state_dict (found weights)" in message(file)
    torch.save({"state_dict": {"resnet.weight": torch.zeros(1)}}, file)
    assert "no checkpoint of the published implementation" in message(file)
    torch.save({"state_dict": state_dict("pyramid_clip")}, file)
    assert "those of pyramid_clip, not of --arch scenario_clip_1" in message(
        file, "--arch=scenario_clip_1"
    )
    with pytest.raises(SystemExit, match=r"not built on CLIP ViT-B/32 .* --clip-config"):
        convert.main(
            [
                "from-reference",
                f"--checkpoint={file}",
                f"--output={tmp_path / 'out'}",
                f"--tokenizer={clip_config.parent}",
            ]
        )


def test_b32_needs_no_config():
    """Sizes that are assumed: the published count of parameters a level, head included."""
    sizes = {t: v | {"stem_blocks": 6 if t == "vision" else 10} for t, v in lightning.B32.items()}
    _, shapes = parameters.abstract(
        lambda: ScenarioCLIP(arch="clip", **sizes, embed_dim=512, rngs=nnx.Rngs(0))
    )
    count = sum(np.prod(leaf.shape) for path, leaf in shapes.items() if "logit_scale" not in path)
    assert round(count / 1e6, 2) == 151.28
