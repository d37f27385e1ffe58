"""What passes by itself, whatever type a library wraps it in, and what is damage."""

import contextlib
import errno
import os
import resource

import numpy as np
import pytest

from scenarioclip_jax import checkpoint, faults
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop import weights
from tests.evaluation.tiny_model import write_model

NUMBERS = (
    "EACCES",
    "ESTALE",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EIO",
    "ETIMEDOUT",
    "ENOTCONN",
    "ENOSPC",
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_refusal_passes_as_a_number_in_words_and_as_a_cause(name):
    number = getattr(errno, name)
    said = OSError(number, os.strerror(number))
    assert faults.passes(said)
    assert faults.passes(ValueError(f"UNKNOWN: Error reading 'd/1' [{os.strerror(number)}]"))
    wrapped = RuntimeError("record 4 can't be read")
    wrapped.__cause__ = said
    assert faults.passes(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        TimeoutError("30 s"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        ValueError("UNAVAILABLE: connection"),
        RuntimeError("can't start new thread"),
        ValueError("can't read 'x': Input/output error"),
        ValueError("open(/data/x): Permission denied"),
        RuntimeError("a worker failed: OSError(116, 'Stale file handle')"),
        ValueError("gs://b/x:Stale file handle [it isn't there]"),
    ],
    ids=str,
)
def test_what_passes(error):
    assert faults.passes(error)
    assert faults.remedy(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("DATA_LOSS: CRC mismatch"),
        OSError("image file is truncated (3 bytes not processed)"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        KeyError("photo"),
        ValueError("buffer size must be a multiple of element size"),
        ValueError("record 3 of /data/aborted/x can't be read: CRC mismatch"),
        ValueError("record 3 of data/permission denied here/x can't be read: CRC mismatch"),
        ValueError("DATA_LOSS: 'timed out' isn't a label, nor is \"out of memory\""),
        KeyError("timed out"),
        ValueError("the plane's landing was aborted"),
    ],
    ids=str,
)
def test_what_is_damage(error):
    assert not faults.passes(error)


def test_remedies_name_what_to_do():
    assert "ulimit -n" in faults.remedy(ValueError("open() failed: Too many open files"))
    assert "permission" in faults.remedy(PermissionError(errno.EACCES, "Permission denied"))
    stale = OSError(errno.ESTALE, "Stale file handle", "/data/permission denied/x")
    assert "mount" in faults.remedy(stale)


@contextlib.contextmanager
def no_descriptors():
    """Makes every attempt to open a file fail, as when too many are open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.open(os.devnull, os.O_RDONLY)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(scope="module")
def files(small_data, tmp_path_factory):
    """Files of every kind that a model or a data set consists of."""
    from safetensors.numpy import save_file

    torch = pytest.importorskip("torch")

    root = write_model(tmp_path_factory.mktemp("refused") / "run", small_data)
    save_file({"a": np.zeros(3, np.float32)}, root / "a.safetensors")
    torch.save({"a": torch.zeros(3)}, root / "a.pt")
    return root


READERS = {
    "summary.json": lambda run, data: shards.load_summary(data),
    "model.json": lambda run, data: checkpoint.ModelSpec.read(run),
    "safetensors": lambda run, data: weights.open_safetensors(run / "a.safetensors"),
    "torch": lambda run, data: weights.load_torch(run / "a.pt"),
    "json": lambda run, data: weights.read_json(run / "model.json"),
    "tokenizer": lambda run, data: Tokenizer.load(run / "tokenizer.json"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_refusal_is_never_called_damage(name, files, small_data):
    read = READERS[name]
    read(files, small_data)  # imports what it needs
    with no_descriptors(), pytest.raises(faults.InputUnavailableError) as refused:
        read(files, small_data)
    said = str(refused.value)
    assert "may be whole" in said
    assert "ulimit -n" in said
    assert str(files) in said or str(small_data) in said
    assert "again" not in said.replace("start again", "")


def test_a_refusal_of_a_checkpoint_is_never_called_damage(files, monkeypatch):
    def refused(path):  # as TensorStore says it, whatever the number was
        raise ValueError(f"PERMISSION_DENIED: Error opening local file '{path}/d/1'")

    monkeypatch.setattr(checkpoint, "_restore_numpy", refused)
    with pytest.raises(faults.InputUnavailableError, match="params: can't be read now, though it"):
        checkpoint.load_params(files)
    monkeypatch.setattr(checkpoint, "_restore_numpy", lambda path: {}["d"])
    with pytest.raises(checkpoint.CheckpointError, match="incomplete or damaged"):
        checkpoint.load_params(files)


def test_damage_is_still_called_damage(files, tmp_path):
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match="copy it again"):
        checkpoint.ModelSpec.read(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"cut")
    with pytest.raises(checkpoint.CheckpointError, match="copy or download it again"):
        weights.open_safetensors(tmp_path / "a.safetensors")
