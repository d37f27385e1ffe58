import subprocess
import sys

import pytest
import torch

from scenarioclip_jax.annotate.models.batches import Batches
from scenarioclip_jax.annotate.models.load import device, load, require
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Failure
from tests.annotate.models.photos import broken, photo


def requests(count):
    return [(photo(str(i), (8, 8), i), i) for i in range(count)]


def found(batches, requests):
    return {each.id: result for each, _, result in batches(requests)}


def test_results_come_by_batches_and_in_order():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return [item.extra * 10 for item in batch]

    assert list(found(Batches("m", 3, run), requests(7)).items()) == [
        (str(i), i * 10) for i in range(7)
    ]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out of memory"), RuntimeError("MPS backend out of memory")]
)
def test_where_memory_is_short_batches_get_smaller_and_stay_so(error):
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise error
        return [item.extra for item in batch]

    assert found(Batches("m", 8, run), requests(14)) == {str(i): i for i in range(14)}
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2]


def test_a_photo_that_needs_too_much_memory_by_itself_is_a_failure():
    def run(batch):
        if any(item.extra == 2 for item in batch):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [item.extra for item in batch]

    result = found(Batches("m", 4, run), requests(6))
    assert result.pop("2").kind == "out_of_memory"
    assert result == {str(i): i for i in range(6) if i != 2}


def test_a_photo_that_a_model_fails_for_is_a_failure_of_its_own():
    def run(batch):
        for item in batch:
            if item.extra % 20 == 7:
                raise ValueError("absolute aspect ratio")
        return [item.extra for item in batch]

    # The first success shows that the model isn't at fault.
    result = found(Batches("m", 4, run), requests(200))
    assert {k for k, v in result.items() if v != int(k)} == {str(i) for i in range(7, 200, 20)}
    assert result["7"] == Failure("model_error", "ValueError: absolute aspect ratio")


def test_a_model_that_fails_for_every_photo_ends_the_run():
    asked = []

    def run(batch):
        asked.append(len(batch))
        raise ValueError("no kernel image")

    with pytest.raises(ModelError, match=r"big-model: fails for every photo.*no kernel image"):
        found(Batches("big-model", 4, run), requests(100))
    assert sum(asked) < 20


def test_a_photo_that_is_not_there_is_a_failure_and_takes_no_place_in_a_batch():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return [item.extra for item in batch]

    mixed = [(broken("b"), 0), *requests(2), (broken("c"), 0), *requests(4)[2:]]
    result = found(Batches("m", 4, run), mixed)
    assert sizes == [4]
    assert {k for k, v in result.items() if isinstance(v, Failure)} == {"b", "c"}


def test_photos_are_decoded_at_most_a_batch_ahead():
    read, ahead = 0, []

    def stream():
        nonlocal read
        for request in requests(40):
            read += 1
            yield request

    def run(batch):
        ahead.append(read - batch[-1].extra - 1)
        return [item.extra for item in batch]

    found(Batches("m", 4, run), stream())
    assert len(ahead) == 10
    assert max(ahead) <= 4 + 1


def test_stopping_halfway_leaves_no_threads():
    import threading

    results = Batches("m", 1, lambda batch: [0 for _ in batch])(requests(10))
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_the_local_rank_says_which_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, index in (("", 0), ("1", 1), ("3", 1)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert device() == torch.device("cuda", index)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device().type in ("cpu", "mps")


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"m: this needs torch.*scenarioclip_jax\[annotate\]"):
        require("torch", "m")
    with pytest.raises(ModelError, match="torch"):
        load("AutoModel", "m", "")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError("We couldn't connect to the hub.\nMore"), "hf download"),
        (ImportError("X requires the Torchvision library"), r"scenarioclip_jax\[annotate\]"),
        (ValueError("Unrecognized configuration class"), "this stage's kind"),
    ],
)
def test_weights_that_cannot_be_loaded_are_said_with_a_remedy(monkeypatch, error, remedy):
    import transformers

    def fail(**_):
        raise error

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", fail)
    with pytest.raises(ModelError, match=remedy) as found:
        load("AutoModel", "some/model", "")
    assert "some/model" in str(found.value)
    assert str(error).splitlines()[0] in str(found.value)


def test_settings_results_and_models_are_there_without_heavy_packages():
    modules = ("settings", "results", "models.protocols", "models.revisions", "models.answers")
    modules += ("models.server", "models.detector", "models.segmenter", "models.local_captioner")
    names = ", ".join(f"scenarioclip_jax.annotate.{name}" for name in modules)
    code = f"import sys, {names}; print(*{{n.split('.')[0] for n in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "scenarioclip_jax" in loaded
    assert not set(loaded) & {"torch", "transformers", "openai", "jax", "huggingface_hub"}
