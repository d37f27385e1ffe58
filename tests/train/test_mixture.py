"""A run on a mixture of two data sets: what it opens, what it says of each, and how it goes on."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from scenarioclip_jax.checkpoint import load_params
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data.build.dataset import ensure_embedded
from scenarioclip_jax.data.source import Mixture
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.evaluation.run_data import recorded
from scenarioclip_jax.train import data as train_data
from scenarioclip_jax.train.budgets import look_at
from scenarioclip_jax.train.config import check, resolve
from scenarioclip_jax.train.data import merge_classes, open_data
from scenarioclip_jax.train.loop import train
from scenarioclip_jax.train.metrics import read_rows
from scenarioclip_jax.train.times_read import drawn
from tests.train import tiny

pytestmark = pytest.mark.usefixtures("shared")
STEPS, BATCH = 6, 16


@pytest.fixture(scope="module")
def folders(small_data, tmp_path_factory):
    """Two data sets, with names of their own."""
    root = tmp_path_factory.mktemp("mixture")
    (root / "large").symlink_to(small_data)
    ensure_embedded(root / "small", 50, seed=3, size=64, progress=False)
    return root


def config(folders, large=0.75, small=0.25, **changes):
    tokenizer = str(shards.dataset_dir(folders / "large") / shards.TOKENIZER)
    changes = {"arch": "clip", "data__tokenizer": tokenizer} | changes
    return tiny.config(f"{folders}/large:{large},{folders}/small:{small}", steps=STEPS, **changes)


@pytest.fixture(scope="module")
def ran(folders, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(config(folders), workdir)
    return workdir


def rows(workdir):
    return [
        {k: v for k, v in row.items() if not k.startswith("time/")}
        for row in read_rows(workdir / "metrics.jsonl")
    ]


@pytest.mark.slow
def test_what_a_run_says_of_each_data_set(ran, folders, capsys):
    data = open_data(config(folders))
    expected = drawn(data, STEPS)
    assert sum(part.drawn for part in expected.values()) == STEPS * BATCH
    report = json.loads((ran / "report.json").read_text())
    assert list(report["data_sets"]) == ["large", "small"]
    for name, part in report["data_sets"].items():
        train_split = shards.open_split(folders / name, "train")
        assert part["scenes"] == len(train_split)
        assert part["drawn"] == expected[name].drawn
        assert part["passes"] == pytest.approx(part["drawn"] / len(train_split))
        assert part["weight"] == {"large": 0.75, "small": 0.25}[name]
        for level, scores in part["zero_shot"].items():
            own = shards.load_classes(folders / name)[train_kind(level)]
            assert scores["classes"] == len(own)
            assert report["zero_shot"][level]["classes"] > 0
    for level, scores in report["zero_shot"].items():
        parts = [part["zero_shot"][level] for part in report["data_sets"].values()]
        assert scores["count"] == sum(part["count"] for part in parts)
        assert scores["classes"] == len(data.classes[train_kind(level)])
    steps = [row for row in rows(ran) if "loss/total" in row]
    for row in steps:
        for name, part in drawn(data, row["step"]).items():
            assert row[f"data/{name}/share"] == pytest.approx(part.share)
            assert row[f"data/{name}/passes"] == pytest.approx(part.passes)
    last = [row for row in rows(ran) if "validation/score" in row][-1]
    means = [
        np.mean(
            [last[f"validation/{n}/student/{v}/top1"] for v in ("global", "object", "relation")]
        )
        for n in ("large", "small")
    ]
    assert last["validation/score"] == pytest.approx(np.mean(means))
    for name in ("large/student", "small/ema", "student"):
        assert 0 <= last[f"validation/{name}/relation/top1"] <= 1
    page = (ran / "report.html").read_text()
    for text in ("Object, large", "Object, small", "of all\ndata sets together", "passes)"):
        assert text in page
    # An evaluation finds each of them.
    kept = recorded(ran)
    assert [each.part for each in kept] == ["large", "small"]
    assert all(each.identity for each in kept)


def train_kind(level):
    return {"global": "actions", "object": "objects", "relation": "relations"}[level]


@pytest.mark.slow
def test_a_run_goes_on_as_if_nothing_had_been(ran, folders, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(ran, workdir)
    shutil.rmtree(workdir / "checkpoints" / "00000006")
    (workdir / "report.json").unlink()
    train(config(folders), workdir)
    assert rows(workdir) == rows(ran)
    assert (workdir / "report.json").read_text() == (ran / "report.json").read_text()
    jax.tree.map(np.testing.assert_array_equal, *(load_params(each)[0] for each in (workdir, ran)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"large": 0.5}, r"a mixture of 0\.6667 of \d+ scenes and 0\.3333 of \d+ scenes"),
        ({"data__dir": "large"}, "config.data.dir names a single data set"),
    ],
)
def test_another_mixture_is_refused(ran, folders, tmp_path, change, said):
    shutil.copytree(ran, tmp_path / "run")
    if "data__dir" in change:
        change = {"data__dir": f"{folders}/large"}
    with pytest.raises(ConfigError, match=f"saved with a mixture of 0.75 of .*{said}"):
        train(config(folders, **change), tmp_path / "run")


def test_the_data_sets_of_a_mixture_are_one(folders):
    data = open_data(config(folders))
    assert isinstance(data.train, Mixture)
    assert len(data.train) == sum(len(each.train) for each in data.sets)
    for kind, texts in data.classes.items():
        lists = [each.classes[kind] for each in data.sets]
        assert texts == sorted(set(lists[0]) | set(lists[1]))
    assert set(data.sets[0].classes["objects"]) & set(data.sets[1].classes["objects"])
    (alone,) = open_data(tiny.config(folders / "large")).sets
    assert (alone.name, alone.classes) == ("", data.sets[0].classes)


def test_a_label_of_several_data_sets_is_one_class():
    kinds = {"actions": [], "relations": []}
    merged = merge_classes([kinds | {"objects": ["a", "c"]}, kinds | {"objects": ["b", "c"]}])
    assert merged == {"actions": [], "objects": ["a", "b", "c"], "relations": []}


@pytest.mark.parametrize("has", [(False, False), (False, True), (True, False)])
def test_focused_regions_are_images_if_those_of_any_data_set_are(folders, monkeypatch, has):
    real = shards.load_summary

    def load_summary(directory):
        which = ("large", "small").index(Path(directory).name)
        return real(directory) | {"has_focus_images": has[which]}

    monkeypatch.setattr(train_data.shards, "load_summary", load_summary)
    assert open_data(config(folders)).settings.focus_images == any(has)


def test_data_sets_with_different_tokenizers_need_a_choice(folders, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"config\.data\.tokenizer is empty, .*different tokenizers .*--config\.data\.tokenizer='?/",
    ):
        open_data(config(folders, data__tokenizer=""))
    shutil.copytree(folders / "small", tmp_path / "same")
    ours = shards.dataset_dir(folders / "large") / shards.TOKENIZER
    shutil.copy(ours, shards.dataset_dir(tmp_path / "same") / shards.TOKENIZER)
    text = f"{folders}/large:1,{tmp_path}/same:1"
    found = open_data(tiny.config(text)).tokenizer
    assert found.to_json() == Tokenizer.load(ours).to_json()


def test_a_copy_of_a_data_set_is_no_second_one(folders, tmp_path):
    shutil.copytree(folders / "small", tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"small and .*copy hold the same training split; name"):
        open_data(config(folders, data__dir=f"{folders}/small:1,{tmp_path}/copy:1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("large:1,gone:1", r"config\.data\.dir='gone': no such folder, in 'large:1,gone:1'; build"),
        ("large:1,small:-1", r"config\.data\.dir: .*the weight -1 of 'small' must be"),
        ("large:1,small", r"config\.data\.dir: .*'small' has no weight"),
        ("hdfs://a/b:1,large:1", r"config\.data\.dir: 'hdfs://a/b': addresses of hdfs aren't"),
    ],
)
def test_bad_mixtures_are_refused_before_anything_starts(folders, monkeypatch, text, message):
    monkeypatch.chdir(folders)
    with pytest.raises(ConfigError, match=message):
        check(tiny.config(text), batch_ways=1)


def test_the_config_of_a_run_names_the_folders_from_anywhere(folders, monkeypatch):
    monkeypatch.chdir(folders)
    assert resolve(tiny.config("large:0.75,small:.25")).data.dir == (
        f"{folders}/large:0.75,{folders}/small:0.25"
    )
    assert resolve(tiny.config("large,small")).data.dir == f"{folders}/large,{folders}/small"
    assert resolve(tiny.config("large")).data.dir == str(Path("large").resolve())


def test_budgets_look_at_each_data_set_by_its_share(folders):
    data = open_data(config(folders))
    seen = []

    class Noting(Mixture):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    noting = Noting({each.name: each.train for each in data.sets}, (1, 3))
    found = look_at(noting, data.settings, 60)
    assert len(found) == 60
    counts = noting.epochs.drawn(data.settings.seed, 60)
    assert counts[1] > counts[0]
    assert sum(index < len(data.sets[0].train) for index in seen) == counts[0]
