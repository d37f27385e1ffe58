"""A run whose data and workdir lie in buckets survives what a run on disk survives, bit for bit."""

import json
import shutil
import signal

import numpy as np
import pytest

from configs.evaluate import get_config as evaluation_config
from scenarioclip_jax import checkpoint, load
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.evaluation.job import evaluate
from scenarioclip_jax.storage import lease as leases
from scenarioclip_jax.storage import workdir as workdirs
from scenarioclip_jax.storage.bucket import Bucket, StorageError
from scenarioclip_jax.storage.cache import place_of
from scenarioclip_jax.storage.models import END, complete_steps, folder_of, manifest_of, model_copy
from scenarioclip_jax.train import loop
from scenarioclip_jax.train.loop import train
from scenarioclip_jax.train.metrics import read_rows
from tests.storage.conftest import new_place
from tests.storage.servers import Trouble, proxy
from tests.storage.test_bucket import through_a_proxy
from tests.storage.test_cache import upload
from tests.train import tiny
from tests.train.processes import Job
from tests.train.shared_programs import Shared, draw_nothing

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]  # runs with checkpoints in buckets
SETTINGS = {"arch": "clip", "report__queries": 0, "report__scenes": 4}


def rows(text: str) -> list[dict]:
    found = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in row.items() if "time/" not in k} for row in found]


@pytest.fixture(scope="module", autouse=True)
def shared():
    """All runs in this process share their programs and draw no figures: where they lie is what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        Shared().share(patch)
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module")
def whole(shared, small_data, tmp_path_factory):
    """An undisturbed run on disk."""
    workdir = tmp_path_factory.mktemp("whole")
    train(tiny.config(small_data, **SETTINGS), workdir)
    return workdir


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(leases, "_SETTLE", 0.01)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path_factory):
    """Goes on as on another machine, which has copied nothing yet."""

    def go():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("elsewhere")))

    return go


@pytest.fixture
def stop_at(monkeypatch):
    """Asks the next run to stop after a step; it goes on when it is started again."""

    def at(step: int):
        real, asked = loop.log_step, []

        def log_step(run, world, watch):
            real(run, world, watch)
            if world.step == step and not asked:
                asked.append(step)
                watch.stop.ask("the test")

        monkeypatch.setattr(loop, "log_step", log_step)

    return at


def assert_like(place, whole):
    """What the bucket has is what the undisturbed run left on disk."""
    bucket = Bucket(place)
    assert rows(bucket.read("metrics.jsonl").decode()) == rows(
        (whole / "metrics.jsonl").read_text()
    )
    assert json.loads(bucket.read("report.json")) == json.loads((whole / "report.json").read_text())
    assert complete_steps(bucket.list()) == checkpoint.steps(whole)
    ours, _, step = checkpoint.load_student_and_ema(load_copy(place))
    theirs, _, other = checkpoint.load_student_and_ema(whole)
    assert step == other
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours[path], array, err_msg=path)


def load_copy(place):
    return model_copy(str(place))


def test_a_run_in_a_bucket_is_the_same_and_goes_on_elsewhere(
    place, small_data, whole, elsewhere, capsys, stop_at
):
    upload(small_data, place._replace(key="data"))
    data, workdir = f"{place.scheme}://{place.bucket}/data", str(place)
    stop_at(4)
    train(tiny.config(data, **SETTINGS), workdir)
    assert f"go on with --workdir={workdir}" in capsys.readouterr().out
    assert complete_steps(Bucket(place).list()) == [3, 4]
    assert Bucket(place).read("report.json") is None
    elsewhere()
    train(tiny.config(data, **SETTINGS), workdir)
    bucket = Bucket(place)
    assert max(complete_steps(bucket.list())) == 6
    ours, _, _ = checkpoint.load_student_and_ema(load_copy(place))
    theirs, _, _ = checkpoint.load_student_and_ema(whole)
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours[path], array, err_msg=path)
    assert rows(bucket.read("metrics.jsonl").decode()) == rows(
        (whole / "metrics.jsonl").read_text()
    )
    assert json.loads(bucket.read("config.json"))["data"]["dir"] == data
    # What others take from it.
    elsewhere()
    np.testing.assert_array_equal(load(workdir).encode_text("a"), load(whole).encode_text("a"))


def test_a_finished_run_on_disk_and_in_a_bucket(
    s3_server, monkeypatch, tmp_path, small_data, whole
):
    place = new_place(s3_server, monkeypatch, tmp_path)
    train(tiny.config(small_data, **SETTINGS), str(place))
    assert_like(place, whole)
    # A second start finds it finished.
    train(tiny.config(small_data, **SETTINGS), str(place))
    assert_like(place, whole)


@pytest.fixture
def trained(s3_server, monkeypatch, tmp_path, whole):
    """The undisturbed run, as it would lie in a bucket, without its report and last step's rows."""
    place = new_place(s3_server, monkeypatch, tmp_path)
    mirror = workdirs.Mirror(place)
    shutil.copytree(whole, mirror.folder, ignore=shutil.ignore_patterns("report.*", ".lock"))
    mirror.take()
    mirror.upload()
    mirror.release()
    shutil.rmtree(mirror.folder)
    return place


def test_the_newest_checkpoint_is_damaged(trained, small_data, whole, capsys):
    bucket = Bucket(trained)
    (name,) = [n for n in bucket.list() if n.startswith("checkpoints/00000006/params/d/")][:1]
    content = bytearray(bucket.read(name))
    content[len(content) // 2] ^= 1
    bucket.write(name, bytes(content))
    with pytest.raises(
        CheckpointError, match=r"checkpoint of step 6 is damaged .*isn't what was uploaded"
    ):
        load(str(trained))
    train(tiny.config(small_data, **SETTINGS), str(trained))
    assert "the checkpoint of step 6 in s3://" in capsys.readouterr().out
    assert_like(trained, whole)


def test_the_upload_of_the_newest_checkpoint_was_interrupted(trained, small_data, whole):
    bucket = Bucket(trained)
    some = [n for n in bucket.list() if n.startswith("checkpoints/00000006/opt")][:3]
    bucket.remove([f"{folder_of(6)}/{END}", manifest_of(6), *some])
    assert complete_steps(bucket.list()) == [3]
    train(tiny.config(small_data, **SETTINGS), str(trained))
    assert_like(trained, whole)


def test_no_checkpoint_is_whole(trained, small_data):
    bucket = Bucket(trained)
    for step in (3, 6):
        (name, *_) = [n for n in bucket.list() if n.startswith(f"{folder_of(step)}/params/")]
        bucket.write(name, b"junk")
    before = bucket.list()
    with pytest.raises(StorageError, match=r"none of the checkpoints in s3.*Nothing was moved"):
        train(tiny.config(small_data, **SETTINGS), str(trained))
    del before[leases.NAME]
    now = bucket.list()
    del now[leases.NAME]
    assert now == before


def test_uploads_that_fail_end_the_run_and_the_same_command_loses_nothing(
    s3_server, monkeypatch, tmp_path, small_data, whole
):
    place = new_place(s3_server, monkeypatch, tmp_path)

    def refuse_the_second_checkpoint(method, path, number):
        return 503 if "checkpoints" in path and "00000006" in path else None

    with proxy(s3_server, Trouble(refuse_the_second_checkpoint)) as port:
        through_a_proxy(monkeypatch, s3_server, port)
        with pytest.raises(
            CheckpointError,
            match=r"couldn't be uploaded: s3.*can't be listed after 3 attempts.*step 3 is whole in s3://.*"
            r"the checkpoint of step 6 is whole on this machine.*start the same command again",
        ):
            train(tiny.config(small_data, **SETTINGS), str(place))
    through_a_proxy(monkeypatch, s3_server, s3_server.port)
    assert complete_steps(Bucket(place).list()) == [3]
    mirror = place_of(place, "workdirs")
    assert checkpoint.steps(mirror) == [3, 6]
    train(tiny.config(small_data, **SETTINGS), str(place))
    assert_like(place, whole)


@pytest.mark.slow  # the run above goes on elsewhere, too
def test_what_another_machine_wrote_since_counts_more_than_the_mirror(
    trained, small_data, whole, elsewhere, monkeypatch
):
    here = str(place_of(trained, "workdirs").parents[3])
    train(tiny.config(small_data, **SETTINGS), str(trained))
    elsewhere()
    settings = SETTINGS | {"steps": 9, "resume__allow": ("steps",)}
    train(tiny.config(small_data, **settings), str(trained))
    monkeypatch.setenv("XDG_CACHE_HOME", here)
    before = Bucket(trained).read("metrics.jsonl")
    train(tiny.config(small_data, **settings), str(trained))
    assert Bucket(trained).read("metrics.jsonl") == before
    assert max(checkpoint.steps(place_of(trained, "workdirs"))) == 9


def add_step(mirror: workdirs.Mirror, step: int) -> None:
    folder = mirror.folder / folder_of(step)
    folder.mkdir(parents=True)
    (folder / "array").write_text("x" * step)
    (folder / END).write_text("{}")


@pytest.mark.parametrize("removed", ["the lease", "everything"])
def test_what_was_never_uploaded_outlives_a_lease_that_was_removed(
    s3_server, monkeypatch, tmp_path, capsys, removed
):
    place = new_place(s3_server, monkeypatch, tmp_path)
    first = workdirs.Mirror(place)
    first.take()
    first.fetch()
    add_step(first, 5)
    first.upload()
    add_step(first, 10)
    first.release()
    bucket = Bucket(place)
    bucket.remove([leases.NAME] if removed == "the lease" else list(bucket.list()))
    second = workdirs.Mirror(place)
    second.take()
    second.fetch()
    second.release()
    if removed == "the lease":
        assert complete_steps(bucket.list()) == [5, 10]
        return
    # Somebody wants to start anew; what this machine has is still kept.
    assert complete_steps(bucket.list()) == checkpoint.steps(second.folder) == []
    (aside,) = second.folder.parent.glob(f"{second.folder.name}.*")
    assert checkpoint.steps(aside) == [5, 10]
    assert f"steps [10], which were never uploaded, are kept in {aside}" in capsys.readouterr().err


def test_a_lease_that_was_removed_is_not_another_run(s3_server, monkeypatch, tmp_path):
    place = new_place(s3_server, monkeypatch, tmp_path)
    mirror = workdirs.Mirror(place)
    mirror.take()
    mirror.fetch()
    add_step(mirror, 5)
    Bucket(place).remove([leases.NAME])
    with pytest.raises(leases.LeaseError, match=r"\.lease\.json of this run isn't there any more"):
        mirror.upload()
    mirror.release()


def test_a_workdir_that_another_run_holds_is_refused(trained, small_data):
    holder = workdirs.Mirror(trained)
    holder.take()
    try:
        holder._lease._renew = 0.1
        with pytest.raises(leases.LeaseError, match="another run writes there"):
            train(tiny.config(small_data, **SETTINGS), str(trained))
    finally:
        holder.release()


def test_a_scheme_that_is_not_supported_is_refused_and_makes_no_folder(
    small_data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for data, workdir in (("abfs://x/data", "runs/x"), (small_data, "abfs://x/run")):
        with pytest.raises(ValueError, match="addresses of abfs aren't supported"):
            train(tiny.config(data, **SETTINGS), workdir)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith("abfs") or p.name == "run"]


@pytest.mark.slow  # an evaluation and `load` read weights there, too
def test_initial_weights_come_from_a_bucket(trained, small_data, tmp_path, whole):
    settings = SETTINGS | {"steps": 1, "checkpoint__every": 1, "validation__every": 1}
    for name, source in (("there", str(trained)), ("here", str(whole))):
        train(tiny.config(small_data, **settings, init_from=source), tmp_path / name)
    last = [read_rows(tmp_path / name / "metrics.jsonl")[0] for name in ("there", "here")]
    assert last[0]["loss/total"] == last[1]["loss/total"]


LONGER = {"report.queries": 0, "arch": "clip", "steps": 40, "checkpoint.every": 4}
LONGER |= {"validation.every": 12}


@pytest.fixture(scope="session")
def longer(small_data, tmp_path_factory):
    """An undisturbed run on disk, by the command."""
    workdir = tmp_path_factory.mktemp("longer")
    Job(workdir, small_data, **LONGER).finish()
    return workdir


@pytest.mark.slow
def test_killed_and_gone_on_with_elsewhere(place, small_data, longer, elsewhere):
    upload(small_data, place._replace(key="data"))
    data = f"{place.scheme}://{place.bucket}/data"
    for step in (6, 17, 30):
        job = Job(str(place), data, **LONGER)
        job.wait_for(rf"step {step}/")
        job.processes[0].kill()
        job.processes[0].wait(60)
        elsewhere()
    assert Bucket(place).read("report.json") is None
    assert complete_steps(Bucket(place).list())
    Job(str(place), data, **LONGER).finish()
    assert_like(place, longer)


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2])
def test_several_processes(s3_server, monkeypatch, tmp_path, small_data, machines):
    """They share a mirror on one machine; on several, as here, each has its own."""
    place = new_place(s3_server, monkeypatch, tmp_path)
    upload(small_data, place._replace(key="data"))
    data = f"s3://{place.bucket}/data"
    settings = {"report.queries": 0, "arch": "clip", "data.packing_groups": 2}
    settings |= {"report.scenes": 4, "mesh.fsdp": 2}
    Job(tmp_path / "whole", small_data, processes=2, **settings).finish()
    program = ("-c", ON_MACHINES.format(machines=machines, cache=str(tmp_path / "machine")))
    job = Job(str(place), data, processes=2, program=program, **settings)
    job.wait_for("step 4/", 300)
    job.signal(0, signal.SIGKILL)
    for process in job.processes:
        process.kill()
        process.wait(60)
    assert complete_steps(Bucket(place).list()) in ([], [3])
    Job(str(place), data, processes=2, program=program, **settings).finish()
    assert_like(place, tmp_path / "whole")


# Processes of one machine have one cache.
ON_MACHINES = """
import os, sys
(process,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--process-id=")]
os.environ["XDG_CACHE_HOME"] = "{cache}" + str(int(process) % {machines})
from scenarioclip_jax.main import run
run()
"""


def test_a_checkpoint_whose_end_was_written_once_more_is_whole(trained):
    bucket = Bucket(trained)
    end = f"{folder_of(6)}/{END}"
    bucket.write(end, bucket.read(end) + b" ")
    load(str(trained))  # raises if it isn't
    assert checkpoint.steps(load_copy(trained)) == [6]


def test_a_run_that_was_copied_to_a_bucket_by_hand_goes_on_there(
    s3_server, monkeypatch, tmp_path, small_data, whole
):
    place = new_place(s3_server, monkeypatch, tmp_path)
    upload(whole, place)
    bucket = Bucket(place)
    bucket.remove(n for n in bucket.list() if n.startswith(folder_of(6)) or "report" in n)
    train(tiny.config(small_data, **SETTINGS), str(place))
    assert_like(place, whole)


def test_an_evaluation_in_a_bucket(trained, small_data, whole, tmp_path, elsewhere):
    upload(small_data, trained._replace(key="data"))
    data = f"s3://{trained.bucket}/data"
    there = trained._replace(key="evaluation")

    def config(checkpoint):
        config = evaluation_config()
        config.suites, config.levels = ("zero_shot",), ("global",)
        config.checkpoint, config.data.dir, config.data.scenes = str(checkpoint), data, 8
        config.cache, config.bootstrap = "", 10
        return config

    here = evaluate(config(whole), tmp_path / "evaluation").summary["suites"]
    assert evaluate(config(trained), str(there)).summary["suites"] == here
    assert json.loads(Bucket(there).read("results.json"))["suites"] == here
    assert Bucket(there).read("report.html")
    elsewhere()
    with pytest.raises(ConfigError, match=rf"--workdir={there} holds another evaluation"):
        evaluate(config(whole), str(there))
    with pytest.raises(ConfigError, match=rf"--workdir={trained} holds a training run"):
        evaluate(config(trained), str(trained))
