"""A suite that can't be scored takes neither the others' results nor the report along."""

import dataclasses
import errno
import io
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import main as main_module
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.embedded.write import write_embedded
from scenarioclip_jax.evaluation.embed import cache, encoder
from scenarioclip_jax.evaluation.embed.cache import NoCache
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.job import evaluate
from scenarioclip_jax.evaluation.report.summary import cut_texts
from scenarioclip_jax.faults import InputUnavailableError
from scenarioclip_jax.loading import load
from tests.evaluation.fakes import write_images, write_json, write_jsonl
from tests.evaluation.tiny_model import write_model

CONFIG = Path(__file__).parents[2] / "configs" / "evaluate.py"
HTML = b"<!DOCTYPE html><html><body>404</body></html>"


class Flag:
    def __init__(self, value):
        self.value = value


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that was trained on a few scenes without negatives and without a validation split."""
    root = tmp_path_factory.mktemp("failing")
    write_embedded(root / "scenes", 16, seed=0, size=64)
    path = root / "scenes" / "metadata.json"
    metadata = json.loads(path.read_text())
    for record in metadata["data"]:
        record["relations"] = [[focus, triplet, []] for focus, triplet, _ in record["relations"]]
    path.write_text(json.dumps(metadata))
    build(root / "scenes", root / "data", fractions=(0.7, 0.0, 0.3), progress=False)
    run = write_model(root / "run", root / "data")
    config = {"data": {"dir": str(root / "data")}, "embedded": {"num_scenes": 6000, "seed": 0}}
    (run / "config.json").write_text(json.dumps(config))
    return root


def config(root, **changes):
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.compilation_cache = ""
    config.checkpoint, config.cache = str(root / "run"), str(root / "cache")
    config.bootstrap, config.batch_size = 20, 8
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def sugarcrepe(root, images):
    record = {"caption": "a red circle", "negative_caption": "a square"}
    write_json(root / "swap_obj.json", [record | {"filename": name} for name in images])
    return {"sugarcrepe__path": str(root), "sugarcrepe__images": str(root)}


@pytest.mark.slow
def test_what_the_data_lacks_is_left_out_of_the_default_suites(place, tmp_path, capsys):
    done = evaluate(config(place), tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    why = f"the folder that {place / 'run'} names; nothing tells whether it was built again since"
    assert lines[0] == f"data: {place / 'data'} ({why})"
    assert not done.failed
    assert set(done.results) == {"zero_shot", "retrieval"}
    summary = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(summary["left_out"]) == {"hard_negatives", "linear_probe"}
    assert "no validation split" in summary["left_out"]["linear_probe"]["reason"]
    assert summary["data"] == str(place / "data")
    page = (tmp_path / "out" / "report.html").read_text()
    assert str(place / "data") in page.split("<nav>")[0]
    assert "no relation of the test split has a negative triplet" in page
    assert "level of one class" not in page


def test_a_named_suite_that_fails_is_reported_and_the_rest_goes_on(place, tmp_path, capsys):
    write_images(tmp_path, "good.png")
    (tmp_path / "bad.jpg").write_bytes(HTML)
    values = config(
        place,
        suites=("hard_negatives", "sugarcrepe", "winoground", "retrieval"),
        winoground__path=str(write_jsonl(tmp_path / "examples.jsonl", [{"caption_0": "a"}])),
        **sugarcrepe(tmp_path, ["good.png", "bad.jpg"]),
    )
    done = evaluate(values, tmp_path / "out")
    assert set(done.failed) == {"hard_negatives", "sugarcrepe", "winoground"}
    assert set(done.results) == {"retrieval"}
    summary = json.loads((tmp_path / "out" / "results.json").read_text())
    assert "an HTML page" in summary["failed"]["sugarcrepe"]["reason"]
    assert "skip_missing=True" in summary["failed"]["sugarcrepe"]["remedy"]
    assert "line 1: no field 'caption_1'" in summary["failed"]["winoground"]["reason"]
    page = (tmp_path / "out" / "report.html").read_text()
    for text in ("bad.jpg", "an HTML page", "skip_missing=True", "caption_1"):
        assert text in page
    assert "sugarcrepe" in capsys.readouterr().err


def test_unreadable_pictures_are_skipped_listed_and_counted(place, tmp_path):
    write_images(tmp_path, "good.png")
    (tmp_path / "page.jpg").write_bytes(HTML)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    names = ["good.png", "page.jpg", "cut.png", "gone.jpg", "page.jpg"]
    values = config(place, suites=("sugarcrepe",), skip_missing=True, **sugarcrepe(tmp_path, names))
    done = evaluate(values, tmp_path / "out")
    assert not done.failed
    column = done.summary["suites"]["sugarcrepe"]["columns"]["student"]
    assert column["skipped"]["image can't be read"]["count"] == 3
    assert column["skipped"]["image is missing"]["count"] == 1
    assert column["counts"] == {"swap_obj records": 1}
    assert any("1 of the published 245" in note for note in column["notes"])
    assert any("1 of the 7 published files" in note for note in column["notes"])
    (file,) = done.summary["suites"]["sugarcrepe"]["files"]
    assert file["path"].endswith("swap_obj.json")
    assert len(file["sha256"]) == 64


def test_damaged_pictures_are_scored_and_counted(place, tmp_path, capsys):
    write_images(tmp_path, "good.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "half.jpg")
    content = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    names = ["good.png", "half.jpg", "half.jpg"]
    done = evaluate(
        config(place, suites=("sugarcrepe",), **sugarcrepe(tmp_path, names)), tmp_path / "out"
    )
    assert not done.failed
    column = done.summary["suites"]["sugarcrepe"]["columns"]["student"]
    assert column["counts"] == {"swap_obj records": 3}
    assert column["skipped"] == {}
    assert column["damaged_images"]["count"] == 1
    assert "half.jpg: the file is damaged" in column["damaged_images"]["such_as"][0]
    assert "half.jpg: the file is damaged" in (tmp_path / "out" / "report.html").read_text()
    assert "1 damaged image scored all the same" in "".join(capsys.readouterr())


def test_files_are_checked_before_anything_is_embedded(place, tmp_path, monkeypatch):
    """The last suite's bad picture is known before the first suite's first batch."""
    events = []
    embed = encoder.ModelEncoder._encode_pictures
    monkeypatch.setattr(
        encoder.ModelEncoder, "_encode_pictures", lambda *a: (events.append("embed"), embed(*a))[1]
    )
    from scenarioclip_jax.evaluation import job

    fail = job._Run._fail
    monkeypatch.setattr(
        job._Run, "_fail", lambda self, suite, e: (events.append(suite), fail(self, suite, e))
    )
    write_images(tmp_path / "one", "good.png")
    (tmp_path / "bad.jpg").write_bytes(HTML)
    records = [{"caption_0": "a", "caption_1": "b", "image_0": "good", "image_1": "good"}]
    values = config(
        place,
        suites=("winoground", "sugarcrepe"),
        winoground__path=str(write_jsonl(tmp_path / "one" / "examples.jsonl", records)),
        cache="",
        **sugarcrepe(tmp_path, ["bad.jpg"]),
    )
    done = evaluate(values, tmp_path / "out")
    assert events == ["sugarcrepe", "embed"]
    assert set(done.results) == {"winoground"}


def test_an_unexpected_error_in_a_suite_leaves_the_others_alone(place, tmp_path, monkeypatch):
    from scenarioclip_jax.evaluation import plan

    def broken(*arguments):
        raise RuntimeError("out of memory")

    suite = dataclasses.replace(plan.IN_DOMAIN["zero_shot"], evaluate=broken)
    monkeypatch.setitem(plan.IN_DOMAIN, "zero_shot", suite)
    done = evaluate(config(place), tmp_path / "out")
    assert done.failed == {"zero_shot": "RuntimeError: out of memory"}
    assert set(done.results) == {"retrieval"}
    assert "out of memory" in (tmp_path / "out" / "report.html").read_text()


def failing_from_the_second_call(monkeypatch, name, error):
    """Replaces an in-domain suite by one that works for the first model only."""
    from scenarioclip_jax.evaluation import plan

    suite, calls = plan.IN_DOMAIN[name], []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise error
        return suite.evaluate(*arguments)

    monkeypatch.setitem(plan.IN_DOMAIN, name, dataclasses.replace(suite, evaluate=broken))


def test_a_suite_that_fails_for_the_second_model_keeps_the_results_of_the_first(
    place, tmp_path, monkeypatch
):
    failing_from_the_second_call(
        monkeypatch, "retrieval", OSError(errno.ESTALE, "Stale file handle")
    )
    values = config(place, suites=("retrieval",), weights=("student", "ema"))
    done = evaluate(values, tmp_path / "out")
    assert set(done.results["retrieval"]) == {"student"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Stale file handle" in page
    assert "<th>student</th><th>ema</th>" in page
    recall = done.summary["suites"]["retrieval"]["columns"]["student"]["metrics"]
    value = recall["global/image_to_text/R@5"]["value"]
    assert re.search(rf"<td><b>{value:.1%}</b>(<br><small>[^<]*</small>)+</td><td><b>-</b>", page)


def test_pictures_that_are_unreadable_by_now_do_not_take_the_report_along(
    place, tmp_path, monkeypatch
):
    def refused(*arguments):
        raise InputUnavailableError("record 3 can't be read now")

    monkeypatch.setattr(DataSet, "views", refused)
    evaluate(config(place, suites=("zero_shot",)), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "photo that can&#39;t be read any more" in page


@pytest.mark.slow
@pytest.mark.parametrize("suites", [("hard_negatives", "retrieval"), None])
def test_the_exit_status_says_whether_a_named_suite_failed(place, tmp_path, monkeypatch, suites):
    values = config(place, **({"suites": suites} if suites else {}))
    monkeypatch.setattr(main_module, "CONFIG", Flag(values))
    monkeypatch.setattr(main_module, "WORKDIR", Flag(str(tmp_path / "run")))
    monkeypatch.setattr(main_module, "MULTIHOST", Flag("no"))
    monkeypatch.setattr(main_module, "PLACE", (Flag(None),) * 3)
    if suites:
        with pytest.raises(SystemExit) as stopped:
            main_module.main(["main"])
        assert stopped.value.code == 1
    else:
        main_module.main(["main"])
    assert (tmp_path / "run" / "report.html").is_file()


class Gone(io.StringIO):
    """A pipe whose reader went away."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize(
    "stream", [Gone, lambda: io.TextIOWrapper(io.BytesIO(), "ascii")], ids=["gone", "ascii"]
)
def test_a_terminal_that_fails_takes_nothing_along(place, tmp_path, monkeypatch, stream):
    monkeypatch.setattr(main_module, "CONFIG", Flag(config(place, suites=("retrieval",))))
    monkeypatch.setattr(main_module, "WORKDIR", Flag(str(tmp_path / "é")))
    monkeypatch.setattr(main_module, "MULTIHOST", Flag("no"))
    monkeypatch.setattr(main_module, "PLACE", (Flag(None),) * 3)
    monkeypatch.setattr(sys, "stdout", stream())
    main_module.main(["main"])
    summary = json.loads((tmp_path / "é" / "results.json").read_text())
    assert (set(summary["suites"]), summary["failed"]) == ({"retrieval"}, {})
    assert (tmp_path / "é" / "report.html").is_file()


def test_a_full_disk_below_the_cache_costs_no_suite(place, tmp_path, monkeypatch, capsys):
    def full(path, write):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(cache, "write_whole", full)
    values = config(place, suites=("zero_shot", "retrieval"), cache=str(tmp_path / "cache"))
    done = evaluate(values, tmp_path / "out")
    assert (set(done.results), done.failed) == ({"zero_shot", "retrieval"}, {})
    assert capsys.readouterr().out.count("embeddings aren't kept: [Errno 28] No space left") == 1


def test_the_workdir_that_a_refusal_offers_can_be_pasted(place, tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    (run / "report.json").write_text("{}")
    with pytest.raises(ConfigError) as refused:
        evaluate(config(place, suites=("retrieval",)), run)
    assert shlex.split(str(refused.value))[-1] == f"--workdir={run}-evaluation"


def test_a_report_is_never_replaced(place, tmp_path):
    run = tmp_path / "training"
    run.mkdir()
    (run / "report.html").write_text("the run's")
    (run / "report.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a training run"):
        evaluate(config(place, suites=("retrieval",)), run)
    assert (run / "report.html").read_text() == "the run's"
    evaluate(config(place, suites=("retrieval",)), tmp_path / "one")
    before = (tmp_path / "one" / "report.html").read_bytes()
    with pytest.raises(ConfigError, match=r"holds another evaluation.*name another --workdir"):
        evaluate(config(place, suites=("zero_shot",)), tmp_path / "one")
    assert (tmp_path / "one" / "report.html").read_bytes() == before
    # The same again is no other one.
    evaluate(config(place, suites=("retrieval",), num_threads=1), tmp_path / "one")
    # Unless the weights have changed since.
    path = tmp_path / "one" / "results.json"
    summary = json.loads(path.read_text())
    summary["models"]["student"]["checkpoint_hash"] = "0" * 64
    path.write_text(json.dumps(summary))
    with pytest.raises(ConfigError, match="holds the evaluation of other weights"):
        evaluate(config(place, suites=("retrieval",)), tmp_path / "one")


def test_texts_that_were_cut_are_counted(place, tmp_path, capsys):
    write_images(tmp_path, "1.png")
    text = "a red circle is to the left of a blue square on a green ground"
    record = {"filename": "1.png", "caption": text + " a", "negative_caption": text + " b"}
    write_json(tmp_path / "swap_obj.json", [record])
    values = {"suites": ("sugarcrepe",), "sugarcrepe__path": str(tmp_path)}
    summary = evaluate(config(place, **values), tmp_path / "trained").summary
    column = summary["suites"]["sugarcrepe"]["columns"]["student"]
    assert (column["texts"]["cut"], column["texts"]["tokens"]) == (2, [12])
    assert column["ties"] == {"swap_obj": 1}
    printed = capsys.readouterr().out
    assert "2 of 2 texts cut to 12 tokens, 1 tie)" in printed
    assert (
        "Texts cut to 12 tokens, student: 2 of 2"
        in (tmp_path / "trained" / "report.html").read_text()
    )


def test_a_tower_can_read_texts_beyond_what_training_cut(place):
    model = load(place / "run")
    model.spec = dataclasses.replace(model.spec, lengths=dict.fromkeys(LEVELS, 8))
    text = "a red circle is to the left of a blue square"
    embedded, counted = [], []
    for longest, tokens in ((False, 8), (True, 12)):
        counting = ModelEncoder(model, NoCache(), batch_size=8).counting(longest)
        embedded.append(counting.texts([text, "a dog", text], "global"))
        counted.append(cut_texts(counting.cut))
        assert counted[-1]["tokens"] == [tokens]
    assert not np.allclose(embedded[0][0], embedded[1][0])
    np.testing.assert_allclose(embedded[0][1], embedded[1][1], atol=1e-5)
    assert (counted[0]["different"], counted[0]["such_as"]) == (2, [text])
