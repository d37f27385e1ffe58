"""Records of a data set that can't be read: damaged ones are left out, refused ones end the suite."""

import errno
from types import SimpleNamespace

import pytest

from scenarioclip_jax import faults
from scenarioclip_jax.data.corrupt import CorruptDataError
from scenarioclip_jax.data.stored.shards import DataSetError, SceneSource
from scenarioclip_jax.evaluation.embed.cache import NoCache
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.faults import InputUnavailableError
from scenarioclip_jax.loading import load
from scenarioclip_jax.train.validation import Validator
from tests.evaluation.tiny_model import write_model

STALE = OSError(errno.ESTALE, "Stale file handle")
DAMAGE = ValueError("DATA_LOSS: CRC mismatch")


@pytest.fixture(scope="module")
def model(small_data, tmp_path_factory):
    return load(write_model(tmp_path_factory.mktemp("model") / "run", small_data))


@pytest.fixture
def data(model, small_data):
    return DataSet(ModelEncoder(model, NoCache()), small_data)


@pytest.fixture
def failing(monkeypatch):
    """Makes reading record 0 of every split fail with a cause, some times."""
    read = SceneSource.__getitem__
    monkeypatch.setattr(faults, "PAUSES", (0.0, 0.0))

    def fail(cause, times):
        left = [cause] * times

        def getitem(source, index):
            if index == 0 and left:
                raise DataSetError("record 0 can't be read") from left.pop()
            return read(source, index)

        monkeypatch.setattr(SceneSource, "__getitem__", getitem)

    return fail


def photo_texts(small_data):
    """The photos that validation during training has texts of, as often as it is asked."""
    from scenarioclip_jax.data.stored import shards

    validator = object.__new__(Validator)
    validator._texts = {}
    source = shards.open_split(small_data, "validation")
    data = SimpleNamespace(name="", validation=source)
    return lambda: set(validator._photos(data, "validation", 0))


def test_a_refusal_that_passes_changes_nothing(data, small_data, failing):
    expected = data.photo_ids("validation"), photo_texts(small_data)()
    for read, before in zip((data.photo_ids, photo_texts(small_data)), expected, strict=True):
        failing(STALE, 2)
        arguments = ("validation",) if read == data.photo_ids else ()
        assert read(*arguments) == before


def test_a_lasting_refusal_is_said_and_not_kept(data, small_data, failing):
    texts, everything = photo_texts(small_data), photo_texts(small_data)()
    for read in (lambda: data.photo_ids("validation"), data.predicates, texts):
        failing(STALE, 3)
        with pytest.raises(InputUnavailableError, match="record 0 can't be read now"):
            read()
    failing(STALE, 3)
    with pytest.raises(InputUnavailableError):
        list(data._scenes_of("test"))
    assert texts() == everything


def test_damage_is_left_out(data, small_data, failing):
    everything = data.photo_ids("validation")
    failing(DAMAGE, 1)
    assert len(data.photo_ids("validation")) == len(everything) - 1
    failing(DAMAGE, 1)
    assert len(photo_texts(small_data)()) == len(everything) - 1
    # Scenes have to match their embeddings, so none is left out afterwards.
    failing(DAMAGE, 1)
    with pytest.raises(CorruptDataError, match="record 0 of the test split is damaged by now"):
        list(data._scenes_of("test"))
