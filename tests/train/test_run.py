"""Whole training runs: what they leave behind, and that stopping one anywhere changes nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from scenarioclip_jax import lock
from scenarioclip_jax.checkpoint import (
    CheckpointError,
    keeps_ema_in_part,
    load_params,
    steps,
)
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.data.pipeline import TrainIterator
from scenarioclip_jax.data.source import identity_digest
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer, train_tokenizer
from scenarioclip_jax.evaluation.embed.embedder import Embedder
from scenarioclip_jax.evaluation.run_data import recorded
from scenarioclip_jax.faults import InputUnavailableError
from scenarioclip_jax.train import loop
from scenarioclip_jax.train.checkpoints import Checkpoints
from scenarioclip_jax.train.data import open_data
from scenarioclip_jax.train.loop import train
from scenarioclip_jax.train.metrics import (
    MetricWriter,
    NonFiniteLossError,
    OutputError,
    read_rows,
)
from scenarioclip_jax.train.stop import StopRequest
from tests.train import tiny
from tests.train.processes import environment
from tests.train.shared_programs import draw_all

pytestmark = pytest.mark.usefixtures("shared")  # only the undisturbed run draws its figures

MOST_PROGRAMS = 20  # 15, small ones included
LEVELS = ("global", "object", "relation")
WAYS = ("text_to_image", "image_to_text")


def config(data_dir, **changes):
    """A run of `clip`, which compiles fastest; the packed run has every part that there is."""
    return tiny.config(data_dir, **({"arch": "clip"} | changes))


def rows(workdir):
    """The rows of a run without what its speed decides."""
    return [
        {k: v for k, v in row.items() if not k.startswith("time/")}
        for row in read_rows(workdir / "metrics.jsonl")
    ]


def scored(workdir):
    """What each checkpoint that is left scored."""
    found = workdir.glob("checkpoints/[0-9]*/metrics/metrics")
    return {path.parent.parent.name: json.loads(path.read_text()) for path in found}


COMPILED: list[str] = []  # by the undisturbed run


@pytest.fixture(scope="module")
def undisturbed(shared, small_data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")

    def listen(event, seconds, **what):
        if event.endswith("/backend_compile_duration"):
            COMPILED.append(what["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    with pytest.MonkeyPatch.context() as patch:
        draw_all(patch)
        patch.setattr(shared, "reuses", False)  # so that all it compiles is counted
        train(config(small_data), workdir)
    jax.monitoring.unregister_event_duration_listener(listen)
    return workdir


@pytest.mark.slow
def test_nothing_of_a_run_is_compiled_twice(undisturbed):
    """A shape or a dtype that changes between steps would show here long before it shows in a timing."""
    assert COMPILED.count("jit(train_step)") == 1
    assert COMPILED.count("jit(encode_batch)") == 1
    # Texts are of another length at each level.
    assert COMPILED.count("jit(encode_text)") <= len(LEVELS)
    assert len(COMPILED) < MOST_PROGRAMS


def test_what_a_run_leaves_behind(undisturbed, small_data):
    names = {path.name for path in undisturbed.iterdir()}
    assert names >= {
        "checkpoints",
        "metrics.jsonl",
        "tensorboard",
        "parameters.txt",
        "first_batch.png",
        "report.html",
        "report.json",
        "model.json",
        "tokenizer.json",
    }
    assert [row["step"] for row in rows(undisturbed) if "loss/total" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows(undisturbed) if "validation/score" in row] == [3, 6]
    validated = [row for row in rows(undisturbed) if "validation/score" in row]
    for name in ("relation/hard_negatives/all", *(f"{v}/{w}/R5" for v in LEVELS for w in WAYS)):
        for row in validated:
            assert 0 <= row[f"validation/student/{name}"] <= 1
            assert 0 <= row[f"validation/ema/{name}"] <= 1
            assert 0 < row[f"validation/chance/{name}"] <= 1
    board = b"".join(path.read_bytes() for path in (undisturbed / "tensorboard").iterdir())
    assert b"validation/student/object/text_to_image/R5" in board
    for name in (b"first_batch", *(f"retrieval/{level}".encode() for level in LEVELS)):
        assert name in board
    # An evaluation sees by it whether the data set was built again.
    (trained,) = recorded(undisturbed)
    assert trained.identity == identity_digest(shards.open_split(small_data, "train"))
    page = (undisturbed / "report.html").read_text()
    assert page.count('aria-label="training curves') == 5
    assert page.count('<article class="card') == 3
    assert (
        page.index('<article class="card')
        < page.index('<figure class="photo')
        < page.index("<h2>Training")
    )
    for title in ("object: misses", "object: nearest to", "Test photos"):
        assert title in page
    assert not re.search(r'<script|(src|href)="(?!data:|#)', page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert_trained(undisturbed, "clip")
    report = json.loads((undisturbed / "report.json").read_text())
    for level in LEVELS:
        scores = report["zero_shot"][level]
        assert scores["chance_top1"] == pytest.approx(1 / scores["classes"])
        assert 0 <= scores["top1"] <= scores["any_label_top1"] <= 1
        assert report["zero_shot_ema"][level]["count"] == scores["count"]


class Signaled(StopRequest):
    """Can be told of a signal without one: no test signals the process that runs it (test_stop.py does)."""

    current: StopRequest

    def __enter__(self):
        Signaled.current = self
        return super().__enter__()


@pytest.fixture
def signaled(monkeypatch):
    """Tells the run of a signal."""
    monkeypatch.setattr(loop, "StopRequest", Signaled)
    return lambda number: Signaled.current.notice(number)


def interrupt_after(calls, function, interrupt):
    """`function`, with a call of `interrupt` in its n-th call."""
    count = 0

    def wrapped(*args, **kwargs):
        nonlocal count
        count += 1
        if count == calls:
            interrupt()
        return function(*args, **kwargs)

    return wrapped


PHASES = {
    "compile": (loop, "compile_step", 1),
    "step, Ctrl-C": (loop, "put_batch", 5),
    "validation": (Embedder, "images", 1),
    "checkpoint": (Checkpoints, "save", 1),
    "report": (loop, "write_report", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_saves_and_the_resumed_run_is_bit_identical(
    phase, undisturbed, small_data, tmp_path, monkeypatch, capsys, signaled
):
    owner, name, calls = PHASES[phase]
    interrupt = partial(signaled, signal.SIGINT if "Ctrl-C" in phase else signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupt_after(calls, getattr(owner, name), interrupt))
        train(config(small_data), tmp_path)
    stopped = int(re.search(r"stopped at step (\d+)", capsys.readouterr().out)[1])
    assert not (tmp_path / "report.html").exists()

    train(config(small_data), tmp_path)
    assert rows(tmp_path) == rows(undisturbed)
    ours, theirs = (json.loads((w / "report.json").read_text()) for w in (tmp_path, undisturbed))
    assert ours == theirs
    expected = scored(undisturbed)
    assert expected.keys() == {"00000003", "00000006"}
    if stopped in (4, 5):
        # Its checkpoint takes the place of step 3's among the newest, unless that is the best: of equal ones,
        # the earliest.
        last, best = "00000006", min(expected, key=lambda s: (-expected[s]["score"], s))
        expected = {step: expected[step] for step in {last, best}}
    assert scored(tmp_path) == expected


@pytest.mark.slow
def test_a_packed_run_resumes_bit_identical(small_data, tmp_path, monkeypatch, capsys, signaled):
    """With all that saves time or memory: of an average of the teacher's towers only, no model can be made."""
    changes = {"arch": "scenario_clip_1", "model__share_stem": True, "model__patch_packing": True}
    changes |= {"data__text_row_tokens": 32, "data__balance": True}
    changes |= {"ema__keep": "teacher"}
    changes |= {"optimizer__mu_dtype": "bfloat16"}
    packed = config(small_data, steps=4, **changes)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(packed, whole)
    assert_trained(whole, "scenario_clip_1")
    with monkeypatch.context() as patch:
        interrupt = partial(signaled, signal.SIGTERM)
        patch.setattr(loop, "put_batch", interrupt_after(3, loop.put_batch, interrupt))
        train(packed, parts)
    assert int(re.search(r"stopped at step (\d+)", capsys.readouterr().out)[1]) < 4
    train(packed, parts)
    assert rows(parts) == rows(whole)
    ours, theirs = (json.loads((w / "report.json").read_text()) for w in (parts, whole))
    assert ours == theirs
    assert ours["zero_shot_ema"] == {}
    assert keeps_ema_in_part(whole, 4)
    with pytest.raises(CheckpointError, match=r"no ema weights.*config\.ema\.keep=all"):
        load_params(whole, weights="ema")


class Hangs:
    """A split whose scenes can't be read until `release` is set."""

    def __init__(self, source, release):
        self._source, self._release = source, release

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        assert self._release.wait(600)
        return self._source[index]


def test_a_signal_while_waiting_for_a_batch(small_data, tmp_path, monkeypatch, capsys, signaled):
    release, real = threading.Event(), shards.open_split
    monkeypatch.setattr(shards, "open_split", lambda *args: Hangs(real(*args), release))
    signal_soon = threading.Timer(1, signaled, (signal.SIGTERM,))
    real_compile = loop.compile_step

    def compile_step(*args):
        signal_soon.start()
        return real_compile(*args)

    monkeypatch.setattr(loop, "compile_step", compile_step)
    started = time.monotonic()
    train(config(small_data, data__stall_seconds=600.0), tmp_path)
    assert time.monotonic() - started < 300
    assert "stopped at step 0; go on with" in capsys.readouterr().out
    assert steps(tmp_path) == [0]
    release.set()


class Computing(np.ndarray):
    """A result that takes time."""

    seconds = 0.0

    def block_until_ready(self):
        time.sleep(self.seconds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("computes", "least", "most"), [(0.0, 0.3, 1.0), (0.5, 0.1, 0.6), (60.0, 0.0, 0.0)]
)
def test_the_wait_for_data_is_the_time_without_a_step_to_compute(
    small_data, tmp_path, monkeypatch, computes, least, most
):
    """A batch that is late but comes while the step before still computes makes nothing wait."""
    real_next, real_compile = TrainIterator.__next__, loop.compile_step

    def late(self):
        time.sleep(1)  # a step of the tiny towers takes far less
        return real_next(self)

    def compile_step(*args):
        step = real_compile(*args)

        def slow(*args):
            state, metrics = step(*args)
            return state, {k: np.asarray(v).view(Computing) for k, v in metrics.items()}

        return slow

    monkeypatch.setattr(Computing, "seconds", computes)
    monkeypatch.setattr(TrainIterator, "__next__", late)
    monkeypatch.setattr(loop, "compile_step", compile_step)
    rare = {"validation__every": 100, "checkpoint__every": 100}  # they wait for the step before
    train(config(small_data, **rare), tmp_path)
    found = [r for r in read_rows(tmp_path / "metrics.jsonl") if "time/data_wait_share" in r]
    shares = [row["time/data_wait_share"] for row in found]
    assert 0 < shares[0] <= 1  # nothing computes before the first step
    # Before the second, the first batch is drawn.
    assert all(least <= share <= most for share in shares[2:]), shares


@pytest.mark.slow
def test_a_disk_that_is_full_when_metrics_are_written(
    undisturbed, small_data, tmp_path, monkeypatch
):
    """The save in the background is complete all the same, and nothing is lost."""
    real = MetricWriter.write

    def write(self, step, metrics):
        if step == 4:
            self._file.close()
            self._file = open("/dev/full", "w")
        real(self, step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "write", write)
        with pytest.raises(OutputError, match=r"metrics\.jsonl: No space left"):
            train(config(small_data), tmp_path)
    assert steps(tmp_path) == [3]
    train(config(small_data), tmp_path)
    assert rows(tmp_path) == rows(undisturbed)


@pytest.mark.slow
def test_rows_after_the_last_checkpoint_are_written_once(undisturbed, small_data, tmp_path):
    """A run that is killed outright leaves rows that no checkpoint knows of."""
    state = {"killed": False}

    class Killed(BaseException):  # as from outside: nothing is saved
        pass

    def put_batch(*args, real=loop.put_batch):
        state["calls"] = state.get("calls", 0) + 1
        if state["calls"] == 6 and not state["killed"]:
            state["killed"] = True
            raise Killed
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "put_batch", put_batch)
        with pytest.raises(Killed):
            train(config(small_data), tmp_path)
    assert max(row["step"] for row in rows(tmp_path)) == 5  # beyond the checkpoint of step 3
    train(config(small_data), tmp_path)
    assert rows(tmp_path) == rows(undisturbed)


def test_going_on_with_other_settings_is_refused_and_changes_nothing(undisturbed, small_data):
    files = [path for path in undisturbed.glob("*.*") if path.is_file() and path.name != lock.NAME]
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(
        ConfigError, match=r"config\.optimizer\.learning_rate was 0\.001 and is 0\.01"
    ):
        train(config(small_data, optimizer__learning_rate=0.01), undisturbed)
    with pytest.raises(ConfigError, match=r"config\.arch was 'clip' and is 'pyramid_clip'"):
        train(config(small_data, arch="pyramid_clip", data__fit="contain"), undisturbed)
    assert before == {path: path.read_bytes() for path in before}


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    undisturbed, small_data, tmp_path, capsys
):
    workdir = tmp_path / "damaged"
    shutil.copytree(undisturbed, workdir)
    for path in (workdir / "checkpoints" / "00000006").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    train(config(small_data), workdir)
    assert "checkpoint of step 6 can't be read and was moved to" in capsys.readouterr().out
    assert rows(workdir) == rows(undisturbed)


def test_if_no_checkpoint_can_be_read_nothing_is_moved_or_started(
    undisturbed, small_data, tmp_path
):
    workdir = tmp_path / "damaged"
    shutil.copytree(undisturbed, workdir)
    for path in workdir.glob("checkpoints/*/params/**/d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def contents():
        return {
            p: p.read_bytes()
            for p in workdir.rglob("*")
            if p.is_file() and p.parent != workdir / "tensorboard" and p.name != lock.NAME
        }

    before = contents()
    with pytest.raises(
        CheckpointError,
        match=r"none of the checkpoints in .* step 6 \(.*step 3 \(.*Nothing was moved",
    ):
        train(config(small_data), workdir)
    assert contents() == before


@pytest.mark.slow
def test_going_on_with_another_mesh(undisturbed, small_data, tmp_path):
    workdir = tmp_path / "moved"
    shutil.copytree(undisturbed, workdir)
    shutil.rmtree(workdir / "checkpoints" / "00000006")
    mesh = {"mesh__data": 1, "mesh__fsdp": 4, "mesh__tensor": 2}
    train(config(small_data, **mesh), workdir)
    assert [row["step"] for row in rows(workdir)] == [row["step"] for row in rows(undisturbed)]
    for row, expected in zip(rows(workdir), rows(undisturbed), strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_best_checkpoint_is_kept_across_restarts(tmp_path):
    arrays = {"params": {"x": np.zeros(2, np.float32)}}

    def save(scores):
        checkpoints = Checkpoints(tmp_path, keep_last=1, keep_best=1, metric="score")
        for step, score in scores.items():
            checkpoints.save(step, arrays=arrays, records={}, metrics={"score": score})
            checkpoints.wait()
        checkpoints.close()

    save({1: 0.9, 2: 0.1, 3: 0.2})
    assert steps(tmp_path) == [1, 3]
    save({4: 0.3, 5: 0.3})
    assert steps(tmp_path) == [1, 5]
    save({6: 0.9, 7: 0.9, 8: 0.2})
    assert steps(tmp_path) == [1, 8], "of equal scores, the earliest is the best"


@pytest.mark.slow
def test_main_stopped_by_a_signal_to_its_process_group_and_started_again(small_data, tmp_path):
    """The command itself, with a reading worker, as a scheduler would end and restart it."""
    command = [sys.executable, "-m", "scenarioclip_jax.main", f"--config={tiny.CONFIG}"]
    command += tiny.flags(
        small_data,
        steps=12,
        arch="clip",
        **{
            "data.num_workers": 1,
            "validation.every": 6,
            "checkpoint.every": 6,
            "report.queries": 0,
        },
    )

    def run(workdir, stop_at=None):
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            env=environment(devices=1),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output = []
        for line in process.stdout:
            output.append(line)
            if stop_at and line.startswith(stop_at):
                os.killpg(process.pid, signal.SIGTERM)
        assert process.wait() == 0, "".join(output)
        return "".join(output)

    run(tmp_path / "whole")
    assert "stopped at step" in run(tmp_path / "stopped", stop_at="step 5/")
    assert not (tmp_path / "stopped" / "report.json").exists()
    assert "report:" in run(tmp_path / "stopped")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(small_data, tmp_path, monkeypatch):
    """The step is named where it happened, whatever is logged."""

    def compile_step(*args, real=loop.compile_step):
        step = real(*args)

        def diverging(state, batch):
            if int(state.step) == 1:
                broken = jax.tree.map(lambda x: x * jnp.nan, state.trainable)
                state = state._replace(trainable=broken)
            return step(state, batch)

        return diverging

    monkeypatch.setattr(loop, "compile_step", compile_step)
    seldom = {"log_every": 5, "checkpoint__every": 5, "validation__every": 5}
    with pytest.raises(NonFiniteLossError, match=r"step 2: .*loss/total"):
        train(config(small_data, **seldom), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("0*"))


def test_skipped_steps_are_counted_at_every_step(small_data, tmp_path, monkeypatch):
    def compile_step(run, progress):
        def step(state, batch):
            state = state._replace(step=state.step + 1, skipped=state.skipped + 1)
            metrics = {"loss/total": jnp.float32("nan"), "gradient_norm": jnp.float32("nan")}
            shown = {"packing/texts_truncated": 0, "learning_rate": 0.1}
            return state, metrics | shown | {"skipped_steps": jnp.int32(state.skipped)}

        return step

    monkeypatch.setattr(loop, "compile_step", compile_step)
    seldom = {"log_every": 50, "checkpoint__every": 50, "validation__every": 50}
    skipping = config(small_data, steps=100, optimizer__skip_nonfinite=3, **seldom)
    with pytest.raises(NonFiniteLossError, match=r"step 4: 4 steps had .*skip_nonfinite=3"):
        train(skipping, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["pyramid_clip", "scenario_clip_0"])
def test_the_other_architectures_train(arch, small_data, tmp_path):
    """But for `clip`, as most runs here, and `scenario_clip_1`, the packed run."""
    train(config(small_data, steps=2, arch=arch), tmp_path)
    assert_trained(tmp_path, arch)


def assert_trained(workdir, arch):
    """All levels are recognized, and the losses are those of the architecture."""
    report = json.loads((workdir / "report.json").read_text())
    assert set(report["zero_shot"]) == set(LEVELS)
    trained = {k for k in rows(workdir)[0] if k.startswith("loss/")}
    assert ("loss/object" in trained) == (arch != "clip")
    assert ("loss/distillation" in trained) == (arch == "scenario_clip_1")


@pytest.mark.slow
def test_starting_from_an_earlier_run(undisturbed, small_data, tmp_path):
    train(config(small_data, init_from=str(undisturbed)), tmp_path)
    params, _ = load_params(undisturbed)
    first = rows(tmp_path)[0]
    # Its teacher had six updates of the hundred that it warms up for; it isn't thrown away.
    assert first["ema_decay"] == pytest.approx(0.99 * 6 / 100)
    scales = [path for path in params if path.startswith("logit_scale/")]
    assert scales
    for path in scales:
        assert first[path] == pytest.approx(float(np.exp(params[path])), rel=1e-6)
    assert first["loss/total"] != rows(undisturbed)[0]["loss/total"]


def test_weights_with_another_tokenizer_are_refused(undisturbed, small_data, tmp_path):
    texts = ["green squirrels jump"] * 3
    size = config(small_data).model.text.vocab_size
    other = train_tokenizer(texts, tmp_path / "other.json", vocab_size=size)
    values = config(small_data, init_from=str(undisturbed))
    values.data.tokenizer = str(tmp_path / "other.json")
    assert other.eos_id == Tokenizer.load(undisturbed / "tokenizer.json").eos_id
    with pytest.raises(
        ConfigError, match=r"config\.init_from: .*--config\.data\.tokenizer=.*undis"
    ):
        train(values, tmp_path / "run")


def test_another_tokenizer_is_refused_when_a_run_resumes(
    undisturbed, small_data, tmp_path, monkeypatch
):
    own = Tokenizer.load(undisturbed / "tokenizer.json")
    train_tokenizer(
        ["green squirrels jump"] * 3, tmp_path / "other.json", vocab_size=own.vocab_size
    )
    shutil.copytree(undisturbed, tmp_path / "run")
    config = tiny.config(small_data)

    def given(tokenizer):
        config.data.tokenizer = tokenizer
        return open_data(config, tmp_path / "run").tokenizer.to_json()

    with pytest.raises(
        ConfigError,
        match=r"config\.data\.tokenizer=.*other\.json: it turns '.*' into other tokens .*Leave",
    ):
        given(str(tmp_path / "other.json"))
    with pytest.raises(
        ConfigError, match=r"config\.data\.tokenizer: .*none\.json: no such tokenizer"
    ):
        given(str(tmp_path / "none.json"))
    shutil.copy(undisturbed / "tokenizer.json", tmp_path / "copy.json")
    assert given(str(tmp_path / "copy.json")) == given("") == own.to_json()
    # A hub repository that the run was started with isn't asked for again.
    kept = json.loads((undisturbed / "config.json").read_text())
    kept["data"]["tokenizer"] = "someone/words"
    (tmp_path / "run" / "config.json").write_text(json.dumps(kept))
    monkeypatch.setattr(tokenizers.Tokenizer, "from_pretrained", None)
    assert given("someone/words") == own.to_json()


def test_weights_of_another_size_are_refused(undisturbed, small_data, tmp_path):
    values = config(small_data, init_from=str(undisturbed))
    values.model.vision.width = 32
    with pytest.raises(ConfigError, match=r"config\.init_from: .*width"):
        train(values, tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_other_settings_on_purpose(undisturbed, small_data, tmp_path, capsys):
    """Longer, with another rate, in more groups: the state stays as it is, and the change is recorded."""
    workdir = tmp_path / "run"
    shutil.copytree(undisturbed, workdir)
    changes = {"optimizer__learning_rate": 5e-4, "data__packing_groups": 16}
    allow = {"resume__allow": ("optimizer.learning_rate,data.packing_groups,steps",)}
    train(config(small_data, steps=8, **changes, **allow), workdir)
    seen = [row for row in rows(workdir) if "loss/total" in row]
    assert [row["step"] for row in seen] == list(range(1, 9))
    assert seen[:6] == [row for row in rows(undisturbed) if "loss/total" in row]
    report = json.loads((workdir / "report.json").read_text())
    assert [(c["step"], c["key"], c["now"]) for c in report["changes"]] == [
        (6, "config.data.packing_groups", 16),
        (6, "config.optimizer.learning_rate", 5e-4),
        (6, "config.steps", 8),
    ]
    assert (
        "config.optimizer.learning_rate from 0.001 to 0.0005 at step 6"
        in (workdir / "report.html").read_text()
    )
    with pytest.raises(ConfigError, match=r"config\.steps=5: the checkpoint is of step 8"):
        train(config(small_data, steps=5, **changes, **allow), workdir)


@pytest.mark.slow
def test_an_error_outside_the_state_loses_nothing(
    undisturbed, small_data, tmp_path, monkeypatch, capsys
):
    """Between reading a batch and training on it, too."""

    def fail():
        raise InputUnavailableError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", interrupt_after(6, loop.put_batch, fail))
        with pytest.raises(InputUnavailableError):
            train(config(small_data), tmp_path)
    assert "step 5 was saved before the run ended" in capsys.readouterr().err
    assert steps(tmp_path) == [3, 5]
    train(config(small_data), tmp_path)
    assert rows(tmp_path) == rows(undisturbed)


@pytest.mark.slow
def test_a_closed_standard_output_stops_the_run_with_its_state_saved(
    undisturbed, small_data, tmp_path, monkeypatch, capsys
):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        flush = write

    def close_output():
        sys.stdout = Closed()

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)  # put back afterwards
        patch.setattr(loop, "put_batch", interrupt_after(4, loop.put_batch, close_output))
        train(config(small_data), tmp_path)
    assert (
        "standard output can't be written to any more ([Errno 32] Broken pipe): the run saves"
        in (capsys.readouterr().err)
    )
    assert steps(tmp_path)[-1] in (4, 5)
    train(config(small_data), tmp_path)
    assert rows(tmp_path) == rows(undisturbed)
