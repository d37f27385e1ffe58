"""Fine-tuning: what it takes over, what it leaves as it is, when it ends, and what its report compares."""

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

import scenarioclip_jax
from scenarioclip_jax import checkpoint
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data import few_shots, photo_digests
from scenarioclip_jax.data.stored.shards import SPLITS, dataset_dir, open_split
from scenarioclip_jax.evaluation.score.from_embeddings import Score
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from scenarioclip_jax.rules import match
from scenarioclip_jax.train.best import FILE, Best, better, check_workdir, is_over
from scenarioclip_jax.train.data import keep_photos, open_data
from scenarioclip_jax.train.finetune import KERNELS, trainable, with_model
from scenarioclip_jax.train.loop import go_back_to_best, train
from scenarioclip_jax.train.lora import Matrix
from scenarioclip_jax.train.metrics import read_rows
from scenarioclip_jax.train.report import _tuned
from scenarioclip_jax.train.validation import Validator
from scenarioclip_jax.train.wise_ft import Share, best_share, between
from tests.evaluation.tiny_model import sizes, write_model
from tests.interop import helpers, siglip_files
from tests.train import tiny

CONFIG = Path(__file__).parents[2] / "configs" / "finetune.py"


@pytest.fixture(scope="module")
def weights(small_data, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("weights") / "model", small_data)


def config(weights, data, task="classification", **changes):
    found = runpy.run_path(str(CONFIG))["get_config"](task)
    values = {
        "init_from": str(weights),
        "data.dir": str(data),
        "data.batch_size": 16,
        "data.num_threads": 1,
        "data.num_workers": 0,
        "compilation_cache": "",
        "validation.scenes": 8,
        "report.scenes": 8,
        "report.queries": 0,
        "log_every": 1,
        "steps": 6,
        "validation.every": 2,
        "checkpoint.every": 2,
    }
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return tiny.with_values(found, values)


@pytest.fixture(scope="module")
def stopped(shared, weights, small_data, tmp_path_factory):
    """A run that can get no better, since its rate is next to nothing."""
    folder = tmp_path_factory.mktemp("stopped")
    changes = {"finetune__levels": ("object",), "finetune__patience": 1}
    given = config(weights, small_data, optimizer__learning_rate=1e-30, **changes)
    train(given, folder)
    return folder, given


@pytest.fixture(scope="module")
def tuned(shared, weights, small_data, tmp_path_factory):
    """A run that learns, at two levels of three."""
    folder = tmp_path_factory.mktemp("tuned")
    changes = {"finetune__levels": ("global", "relation"), "finetune__shares": (0.0, 0.5, 1.0)}
    changes |= {"optimizer__learning_rate": 3e-3, "finetune__patience": 0, "steps": 3}
    train(config(weights, small_data, "retrieval", **changes), folder)
    return folder


@pytest.mark.slow
def test_it_ends_when_validation_gets_no_better(stopped):
    folder, _ = stopped
    assert json.loads((folder / FILE).read_text()) == {"best": 2, "last": 4, "steps": 6}
    assert max(checkpoint.steps(folder)) == 2, "the best step isn't the newest checkpoint"
    report = json.loads((folder / "report.json").read_text())
    assert report["steps"] == 2
    rows = [row["step"] for row in read_rows(folder / "metrics.jsonl") if "loss/total" in row]
    assert rows == [1, 2, 3, 4]
    assert "Between before and after" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_run_that_has_ended_trains_no_more(shared, stopped):
    folder, given = stopped
    before = (folder / "checkpoints").stat().st_mtime_ns
    rows = read_rows(folder / "metrics.jsonl")
    (folder / "report.json").unlink()
    given = given.copy_and_resolve_references()
    given.init_from = ""  # the run knows what it began with
    train(given, folder)
    assert "shares" in json.loads((folder / "report.json").read_text())
    assert (folder / "checkpoints").stat().st_mtime_ns == before, "it saved something"
    assert len(read_rows(folder / "metrics.jsonl")) <= len(rows), "it trained on"


@pytest.mark.slow
def test_only_what_serves_the_chosen_levels_changes(tuned, weights):
    before, _ = checkpoint.load_params(weights, weights="student")
    after, _ = checkpoint.load_params(tuned, weights="student")
    assert before.keys() == after.keys()
    same = {path for path in before if np.array_equal(before[path], after[path])}
    others = {path for path in before if "object" in path.split("/")}
    assert others
    assert others <= same
    assert not any(path.endswith("kernel") for path in same - others), same - others


@pytest.mark.slow
def test_lora_changes_matrices_by_a_low_rank(shared, weights, small_data, tmp_path):
    changes = {"finetune__parts": "lora", "finetune__rank": 1, "finetune__levels": ("object",)}
    train(config(weights, small_data, optimizer__learning_rate=3e-3, steps=2, **changes), tmp_path)
    before, _ = checkpoint.load_params(weights, weights="student")
    after, _ = checkpoint.load_params(tmp_path, weights="student")
    assert before.keys() == after.keys(), "the result isn't an ordinary model"
    different = {path for path in before if not np.array_equal(before[path], after[path])}
    kernels = {path for path in different if "stack/blocks" in path}
    assert kernels
    assert all(re.fullmatch(KERNELS, path) for path in kernels)
    assert all(re.match("(vision|text)/head|logit_", path) for path in different - kernels)
    for path in kernels:
        change = np.asarray(after[path], np.float64) - before[path]
        for block in Matrix.of(path, change.ndim).flat(change):
            one, *others = np.linalg.svd(block, compute_uv=False)
            assert max(others, default=0) < 1e-3 * one, path


@pytest.mark.slow
def test_validation_chooses_by_recall_at_one(tuned):
    *_, row = [row for row in read_rows(tuned / "metrics.jsonl") if "validation/score" in row]
    recalls = [
        value
        for name, value in row.items()
        if re.fullmatch(r"validation/student/(global|relation|caption)/.*/R1", name)
    ]
    assert len(recalls) >= 4
    assert row["validation/score"] == pytest.approx(np.mean(recalls))


def test_the_report_compares_weights_in_between(tuned, weights, small_data):
    report = json.loads((tuned / "report.json").read_text())
    assert [each["share"] for each in report["shares"]] == [0.0, 0.5, 1.0]
    assert report["zero_shot_before"].keys() == report["zero_shot"].keys() == set(LEVELS)
    assert report["shares"][0]["test"] != report["shares"][2]["test"]
    page = (tuned / "report.html").read_text()
    assert "before fine-tuning" in page
    assert str(weights) in page
    assert "50%" in page


def test_it_keeps_what_it_has_seen(tuned, small_data, weights):
    folder = dataset_dir(small_data)
    seen = {split: photo_digests.read(folder / photo_digests.of_split(split)) for split in SPLITS}
    kept = photo_digests.read(tuned / photo_digests.OF_RUN)
    assert kept.tolist() == seen["train"].tolist()
    assert not set(kept.tolist()) & set(seen["test"].tolist())


def test_what_the_weights_have_seen_is_known_too(weights, small_data, tmp_path):
    began, folder = tmp_path / "began", tmp_path / "run"
    began.mkdir()
    folder.mkdir()
    photo_digests.write(began / photo_digests.OF_RUN, [5, 3])
    given = with_model(config(weights, small_data))
    data = open_data(given)
    given.init_from = str(began)
    keep_photos(given, data, folder)
    assert {3, 5} < set(photo_digests.read(folder / photo_digests.OF_RUN).tolist())


def test_the_result_is_opened_like_any_model(tuned):
    model = scenarioclip_jax.load(tuned)
    assert model.encode_text(["a cup"], "object").shape == (1, 8)
    assert model.spec.lengths == dict.fromkeys(LEVELS, 12)
    assert model.spec.model["vision"]["image_size"] == 32


def test_weights_decide_what_belongs_to_them(weights, small_data):
    given = config(weights, small_data, finetune__parts="last", finetune__blocks=1)
    found = with_model(given)
    assert (found.arch, found.model.embed_dim, found.data.canvas_size) == ("scenario_clip_1", 8, 46)
    assert found.model.vision.stem_blocks == found.model.text.stem_blocks == 0
    assert [level.text_length for level in found.data.levels.values()] == [12, 12, 12]
    assert found.data.tokenizer == str(weights)
    assert "vision" not in given.model, "the config that was given is changed"
    assert with_model(config(weights, small_data, data__canvas_size=40)).data.canvas_size == 40


def test_plain_clip_begins_with_its_own_heads(small_data, tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    found = with_model(config(clip, small_data))
    assert (found.arch, found.init_heads) == ("pyramid_clip", "clip")
    assert found.model.embed_dim == 2 * helpers.PROJECTION


def test_siglip_begins_with_its_own_heads_and_loss(small_data, tmp_path):
    pytest.importorskip("torch")
    siglip = siglip_files.write(tmp_path / "siglip")
    found = with_model(config(siglip, small_data))
    assert (found.arch, found.init_heads, found.loss.kind) == ("pyramid_clip", "clip", "sigmoid")
    assert (found.model.vision.pooling, found.model.text.pooling) == ("attention", "last")
    assert found.model.embed_dim == 2 * 32


ARCHITECTURES = (
    "pyramid_clip",
    "scenario_clip_0",
    "scenario_clip_1",
    "scenario_clip_shared",
    "pooled",
    "shared stem",
)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_rules_freeze_what_serves_other_levels(kind):
    model = sizes(1) | {"arch": kind if "clip" in kind else "scenario_clip_0"}
    model |= {"regions": "pooled"} if kind == "pooled" else {}
    model |= {"share_stem": True} if kind == "shared stem" else {}
    _, shapes = parameters.abstract(lambda: ScenarioCLIP(**model, rngs=nnx.Rngs(0)))
    for parts in ("full", "heads"):
        trains = match(trainable(model, ("object",), parts), shapes, name="trainable")
        chosen = {path for path, yes in trains.items() if yes}
        assert "logit_scale/object" in chosen
        assert not {path for path in chosen if "relation" in path.split("/")}
        # A tower that alone serves the photo serves the chosen level too.
        alone = {path for path in chosen if "global" in path.split("/")}
        assert all(kind == "pooled" and path.startswith("vision/") for path in alone), alone
        assert not any("/head/global" in path for path in alone)
        towers = any("/trunk/" in path for path in chosen)
        assert towers is (parts == "full")
        assert any("/head/" in path for path in chosen)
        assert not any("stem/shared" in path for path in chosen)
    everything = match(trainable(model, LEVELS, "full"), shapes, name="trainable")
    assert all(everything.values())


@pytest.mark.parametrize("ends_as_objects", [False, True])
def test_what_reads_objects_trains_with_relations_that_read_them(ends_as_objects):
    model = sizes(1) | {"arch": "scenario_clip_0", "regions": "pooled"}
    model |= {"ends_as_objects": ends_as_objects}
    _, shapes = parameters.abstract(lambda: ScenarioCLIP(**model, rngs=nnx.Rngs(0)))
    trains = match(trainable(model, ("relation",), "full"), shapes, name="trainable")
    of_objects = {yes for path, yes in trains.items() if path.startswith("regions/pool/object")}
    assert of_objects == {ends_as_objects}
    assert not any(yes for path, yes in trains.items() if "/head/object" in path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"init_from": ""}, r"init_from is empty"),
        ({"finetune__levels": ("objects",)}, r"finetune\.levels.*scene, object, relation"),
        ({"finetune__parts": "some"}, r"finetune\.parts.*full, last, lora, heads"),
        ({"finetune__parts": "last", "finetune__blocks": 2}, r"finetune\.blocks=2.*1 blocks"),
        ({"finetune__shots": -1}, r"finetune\.shots=-1"),
        ({"finetune__blocks": 0}, r"finetune\.blocks=0"),
        (
            {"finetune__score": "top2", "validation__suites": ("zero_shot", "retrieval")},
            r"finetune\.score.*top1, R1, negatives",
        ),
        ({"finetune__score": "R1"}, r"validation\.suites.*retrieval"),
        ({"finetune__shares": (0.5, 2.0)}, r"finetune\.shares"),
        ({"checkpoint__every": 3}, r"checkpoint\.every to config\.validation\.every=2"),
        ({"checkpoint__keep_best": 0}, r"keep_best"),
        ({"optimizer__layer_decay": 0.0}, r"optimizer\.layer_decay"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(
    weights, small_data, tmp_path, changes, told
):
    with pytest.raises(ConfigError, match=told):
        train(config(weights, small_data, **changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_the_best_validation_is_the_first_of_equal_ones():
    best = better(better(better(None, 2, 0.5), 4, 0.5), 6, 0.4)
    assert best == Best(2, 0.5, since=2, last=6)
    assert better(best, 6, 0.4) == best, "a validation that was made again counts twice"
    assert better(best, 8, 0.6) == Best(8, 0.6, since=0, last=8)


def test_a_stop_in_the_validation_that_decides_ends_nothing(weights, small_data, tmp_path):
    given = config(weights, small_data, finetune__patience=1)
    run = SimpleNamespace(config=given, steps=6)
    for step in (4, 6):  # patience is over, or the run is at its last step
        world = SimpleNamespace(step=step, best=Best(2, 0.5, 1, 4), validated=False, scores=None)
        assert not go_back_to_best(run, world, None, tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("parts", [1, 2])
def test_data_without_a_split_has_no_scores_on_it(parts):
    validator = object.__new__(Validator)
    lacking = SimpleNamespace(name="", validation=None, test=None)
    validator._data = SimpleNamespace(sets=(lacking,) * parts)
    assert validator.main({}, "validation", 0) == validator.main({}, "test", 0) == {}


def test_patience_counts_validations(weights, small_data):
    given = config(weights, small_data, finetune__patience=2)
    given.validation.every = 7  # another distance between validations changes nothing
    assert [is_over(given, Best(4, 0.5, since)) for since in (0, 1, 2, 3)] == [
        False,
        False,
        True,
        True,
    ]
    given.finetune.patience = 0
    assert not is_over(given, Best(4, 0.5, 1000))
    assert not is_over(given, None)


def test_heads_of_a_fine_tuning_are_those_of_the_weights(weights, small_data):
    with pytest.raises(ConfigError, match=r"config\.init_heads=new: .*leave it at clip"):
        with_model(config(weights, small_data, init_heads="new"))


def test_weights_in_between():
    base = {"a": np.float32([0.1, 3.0]), "b": np.float32([0.3])}
    tuned = {"a": np.float32([0.1, 5.0]), "b": np.float32([0.7]), "frozen": np.float32([1.0])}
    half = between(base, tuned, 0.5)
    assert half["a"][0] == np.float32(0.1)
    np.testing.assert_allclose(half["a"][1], 4.0)
    np.testing.assert_allclose(half["b"], 0.5, rtol=1e-6)
    helpers.assert_same(between(base, tuned, 1.0), tuned)
    helpers.assert_same(between(base, tuned, 0.0), base | {"frozen": tuned["frozen"]})


def test_validation_chooses_the_share():
    rows = [Share(0.0, {"a": 0.2, "b": 0.2}, {}), Share(0.5, {"a": 0.5, "b": 0.1}, {"a": 0.0})]
    rows += [Share(1.0, {"a": 0.1, "b": 0.5}, {"a": 1.0})]
    assert best_share(rows) == 0.5
    assert best_share([Share(1.0, {}, {"a": 1.0})]) is None


@pytest.mark.parametrize("levels", [("object",), LEVELS])
def test_few_shots_has_so_many_of_each_class(small_data, levels):
    source = open_split(small_data, "train")
    all_of, wanted = {}, {}
    for index in range(len(source)):
        for level, texts in few_shots._texts(source[index]).items():
            for text in texts if level in levels else ():
                all_of[level, text] = all_of.get((level, text), 0) + 1
    few = few_shots.FewShots(source, few_shots.choose(source, levels, 2, draw=0))
    for index in range(len(few)):
        for level, texts in few_shots._texts(few[index]).items():
            assert level in levels or not any(texts)
            for text in filter(None, texts):
                wanted[level, text] = wanted.get((level, text), 0) + 1
    assert wanted == {key: min(2, count) for key, count in all_of.items() if key[1]}
    assert 0 < len(few) <= len(source)
    other = few_shots.FewShots(source, few_shots.choose(source, levels, 2, draw=1))
    again = few_shots.FewShots(source, few_shots.choose(source, levels, 2, draw=0))
    assert few.identity == again.identity != other.identity


def test_participants_of_a_few_shot_scene_keep_their_places(small_data):
    source = open_split(small_data, "train")
    index = next(
        i
        for i in range(len(source))
        if len(source[i].object_names) >= 3 and any(r.pair for r in source[i].relations)
    )
    scene = source[index]
    row = next(i for i, relation in enumerate(scene.relations) if relation.pair)
    ends = scene.relations[row].pair
    both = tuple(sorted(ends))
    found = few_shots.reduce(scene, few_shots.Kept(False, both, (row,)))
    assert found.object_names == [scene.object_names[i] for i in both]
    assert found.relations[0].pair == (both.index(ends[0]), both.index(ends[1]))
    np.testing.assert_array_equal(found.object_boxes, scene.object_boxes[list(both)])
    alone = few_shots.reduce(scene, few_shots.Kept(True, (ends[0],), (row,)))
    assert alone.relations[0].pair is None
    np.testing.assert_array_equal(alone.relations[0].boxes, scene.relations[row].boxes)
    assert (alone.action, found.action) == (scene.action, "")


def test_a_run_on_few_shots_reads_just_these(weights, small_data):
    changes = {"finetune__levels": ("object",), "finetune__shots": 1}
    given = with_model(config(weights, small_data, **changes))
    data = open_data(given)
    names = [name for index in range(len(data.train)) for name in data.train[index].object_names]
    assert sorted(names) == sorted(set(names))
    assert set(names) <= set(data.classes["objects"])
    assert _tuned(given)["Trained"] == "everything of the object level, 1 of each class (draw 0)"


def test_few_shots_of_levels_that_the_data_lacks_are_refused(weights, small_data, monkeypatch):
    monkeypatch.setattr(few_shots, "choose", lambda *_: {})
    given = with_model(config(weights, small_data, finetune__shots=1))
    with pytest.raises(
        ConfigError, match=r"finetune\.shots=1: .* has no picture of a class at global"
    ):
        open_data(given)


@pytest.mark.parametrize(
    ("score", "scores", "chosen"),
    [
        ("negatives", {"relation/hard_negatives/all": 0.7, "relation/R1": 0.2}, {"relation": 0.7}),
        ("negatives", {"relation/text_to_image/R1": 0.2}, {"relation": 0.4}),  # the data has none
        ("top1", {"relation/hard_negatives/all": 0.7}, {"relation": 0.4}),
        (
            "R1",
            {f"{level}/text_to_image/R1": 0.1 for level in ("object", "relation", "caption")},
            {"relation/text_to_image/R1": 0.1},  # captions are of the whole photo
        ),
        ("R1", {"caption/text_to_image/R1": 0.3}, {"caption/text_to_image/R1": 0.3}),
    ],
)
def test_what_validation_chooses_by(score, scores, chosen):
    validator = SimpleNamespace(_score=score, _levels={"relation"})
    found = SimpleNamespace(scores={"relation": {"top1": 0.4}, "object": {"top1": 0.9}})
    given = {name: Score(value, None) for name, value in scores.items()}
    assert Validator._main(validator, found, given) == chosen


@pytest.mark.parametrize(
    ("patience", "in_bucket", "processes", "refused"),
    [(3, True, 2, True), (0, True, 2, False), (3, False, 2, False), (3, True, 1, False)],
)
def test_several_processes_cannot_go_back_in_a_bucket(
    monkeypatch, patience, in_bucket, processes, refused
):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    given = config("weights", "data", finetune__patience=patience)
    if refused:
        with pytest.raises(ConfigError, match=r"patience=3: several .* set config\.finetune"):
            check_workdir(given, in_bucket=in_bucket)
    else:
        check_workdir(given, in_bucket=in_bucket)
