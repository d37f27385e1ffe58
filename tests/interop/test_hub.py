"""Where models are looked for, what is fetched from the hub, and what people are told instead."""

import fnmatch
import json
import shutil

import huggingface_hub
import numpy as np
import pytest

from scenarioclip_jax import convert, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import hub, known_files
from scenarioclip_jax.interop.plain_clip import open_plain_clip
from tests.interop import helpers


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return helpers.write_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture
def repository(clip, tmp_path, monkeypatch):
    """A repository of a hub that never was, and the files of it that were asked for."""
    there, here, asked = tmp_path / "there", tmp_path / "here", []
    shutil.copytree(clip, there)
    here.mkdir()

    def download(name, allow_patterns, revision=None):
        asked.append((name, revision))
        for file in there.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, here / file.name)
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return there, here, asked


def test_only_what_is_needed_is_fetched(repository):
    there, here, asked = repository
    for name in ("model.fp16.safetensors", "open_clip_model.safetensors", "pytorch_model.bin"):
        (there / name).write_bytes(b"x")
    assert load("some-org/some-clip").image_size == 32
    assert {file.name for file in here.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert asked == [("some-org/some-clip", None)]


def test_safetensors_of_another_library_do_not_hide_the_weights(repository):
    torch = pytest.importorskip("torch")
    there, here, _ = repository
    (there / "model.safetensors").rename(there / "open_clip_model.safetensors")
    state = {name: torch.from_numpy(value) for name, value in helpers.clip_arrays().items()}
    torch.save(state, there / "pytorch_model.bin")
    (there / "open_clip_pytorch_model.bin").write_bytes(b"x")
    assert load("some-org/some-clip").image_size == 32
    assert not any(file.name.startswith("open_clip") for file in here.iterdir())


@pytest.mark.parametrize(
    ("source", "revision"),
    [
        ("org/name@v1", "v1"),
        ("hf-hub:org/name", None),
        ("hf://org/name", None),
        ("https://huggingface.co/org/name", None),
        ("https://huggingface.co/org/name/", None),
        ("https://huggingface.co/org/name/tree/main", "main"),
    ],
)
def test_ways_to_name_a_repository(repository, source, revision):
    _, _, asked = repository
    assert load(source).image_size == 32
    assert set(asked) == {("org/name", revision)}


def test_offline_with_all_that_is_needed(clip, monkeypatch):
    """What `hf download REPO FILE…` leaves: the hub's client says that other files are missing."""

    class IncompleteSnapshotError(Exception):
        snapshot_path = str(clip)

    def refuse(*_, **__):
        raise IncompleteSnapshotError("4 files are missing (vocab.json, ...)")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    assert hub.find_folder("some-org/some-clip") == clip
    assert load("some-org/some-clip").image_size == 32


def test_no_such_repository(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"org/clip: no such folder, .*ConnectionError: no r"):
        open_plain_clip("org/clip")


def test_what_looks_like_a_path_is_not_sent_to_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(CheckpointError, match=r"^runs/nope: no such folder$"):
        load("runs/nope")
    (tmp_path / "models/demo").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"^models/dem: no such folder; models has demo$"):
        load("models/dem")
    for source in ("./clip", "/nowhere/clip", "a/b/c"):
        with pytest.raises(CheckpointError, match="no such folder"):
            load(source)
    with pytest.raises(
        CheckpointError, match="'abfs://bucket/clip': addresses of abfs aren't supported"
    ):
        load("abfs://bucket/clip")


def test_a_folder_within_a_checkpoint_names_the_one_above(clip, tmp_path):
    out = tmp_path / "run"
    convert.main(["from-huggingface", f"--model={clip}", f"--output={out}", "--arch=clip"])
    for part in (out / "checkpoints", next((out / "checkpoints").iterdir())):
        with pytest.raises(CheckpointError, match=rf"a part of the checkpoint in {out}; give that"):
            load(part)
        with pytest.raises(SystemExit, match=rf"a part of the checkpoint in {out}; give that"):
            convert.main(["to-pytorch", f"--checkpoint={part}", f"--output={tmp_path / 'x'}"])


def test_files_are_called_by_their_names(clip, tmp_path):
    torch = pytest.importorskip("torch")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"
    for name in ("model.safetensors", "config.json"):
        folder = tmp_path / f"lfs-{name}"
        shutil.copytree(clip, folder)
        (folder / name).write_bytes(pointer)
        with pytest.raises(CheckpointError, match=rf"{name}: .*Git LFS pointer.*git lfs pull"):
            load(folder)
    (folder / "config.json").write_text("<!DOCTYPE html><html>")
    with pytest.raises(CheckpointError, match=r"config\.json: .*a web page"):
        load(folder)
    with pytest.raises(CheckpointError, match=r"a file, weights of a Hugging Face CLIP model with"):
        load(clip / "model.safetensors")

    path, output = tmp_path / "epoch.pt", f"--output={tmp_path / 'x'}"
    names = ("visual.conv1.weight", "visual.transformer.resblocks.0.ln_1.weight")
    for prefix in ("", "module."):
        state = {prefix + name: torch.zeros(2) for name in names}
        torch.save({"epoch": 3, "state_dict": state} if prefix else state, path)
        with pytest.raises(SystemExit, match=r"epoch\.pt: in open_clip's format"):
            convert.main(["from-reference", f"--checkpoint={path}", f"--tokenizer={clip}", output])
    (tmp_path / "oc").mkdir()
    (tmp_path / "oc/open_clip_config.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"open_clip_config\.json: it has no object model_cfg"
    ):
        load(tmp_path / "oc")
    assert known_files.describe(tmp_path / "epoch.pt") is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_openais_own_file_is_torchscript(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(CheckpointError, match="TorchScript archive, as OpenAI's own downloads"):
        load(path)
    with pytest.raises(SystemExit, match="TorchScript archive, as OpenAI's own downloads"):
        convert.main(["from-reference", f"--checkpoint={path}", f"--output={tmp_path / 'x'}"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("clip_vision_model", "a vision tower alone"),
        ("clip_text_model", "a text tower alone"),
        ("siglip2", "those of fixed sizes can be read"),
        ("metaclip_2", "MetaCLIP 2"),
        ("scenarioclip", "config.init_from"),
        ("bert", "OpenAI, LAION"),
    ],
)
def test_other_models_are_called_by_their_names(clip, tmp_path, kind, said):
    config = json.loads((clip / "config.json").read_text()) | {"model_type": kind}
    folder = helpers.write_clip(tmp_path / "m", config=config)
    with pytest.raises(CheckpointError, match=rf"model_type is '{kind}'.*{said}"):
        open_plain_clip(str(folder))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "clip.", "module.model."])
def test_wrappers_prefixes_and_extra_tensors(clip, tmp_path, prefix, capsys):
    arrays = helpers.clip_arrays()
    wrapped = {prefix + name: value for name, value in arrays.items()}
    wrapped[prefix + "logit_scale"] = wrapped[prefix + "logit_scale"].reshape(1)
    wrapped[prefix + "logit_bias"] = wrapped["classifier.weight"] = np.zeros(1, np.float32)
    folder = helpers.write_clip(tmp_path / "m", wrapped)
    (folder / "config.json").write_text("\ufeff" + (folder / "config.json").read_text())
    found, wanted = open_plain_clip(str(folder)).weights, open_plain_clip(str(clip)).weights
    helpers.assert_same({k: found[k] for k in found}, {k: wanted[k] for k in wanted})
    assert "left out classifier.weight, logit_bias" in capsys.readouterr().err
    del wrapped[prefix + "logit_scale"]
    folder = helpers.write_clip(tmp_path / "headless", wrapped)
    with pytest.raises(CheckpointError, match="has no logit_scale, so CLIP's own head"):
        load(folder)
