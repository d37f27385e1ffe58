"""Which checkpoint a run goes on from, and what is done about those that can't be read."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.train import resume
from scenarioclip_jax.train.config import plain
from tests.train import tiny


class Stored:
    """Checkpoints of which some can't be read; `failures` by step."""

    def __init__(self, config, steps, failures):
        self.steps, self._failures = steps, failures
        self._record = {"config": plain(config), "data": {}, "progress": {}}
        self.manager, self.moved = SimpleNamespace(directory="DIR"), []

    def restore(self, step, *, arrays, records):
        if arrays and step in self._failures:
            raise self._failures[step]
        return arrays | {name: self._record[name] for name in records}

    def set_aside(self, step):
        self.moved.append(step)
        return Path("aside")


def newest(failures, steps=(3, 6, 9)):
    config = tiny.config("unused")
    stored = Stored(config, list(steps), failures)
    return stored, lambda: resume._newest_readable(config, {"x": 1}, stored)


def test_damaged_ones_are_set_aside_once_an_older_one_was_read(capsys):
    stored, read = newest({9: ValueError("DATA_LOSS"), 6: FileNotFoundError(2, "gone")})
    assert read()[1] == {"x": 1}
    assert stored.moved == [9, 6]
    said = capsys.readouterr().out
    assert "checkpoint of step 9 can't be read and was moved to aside; going on from step 3" in said
    assert "ValueError: DATA_LOSS" in said


def test_no_checkpoint_is_a_new_run():
    stored, read = newest({}, steps=())
    assert read() is None
    assert stored.moved == []


def test_none_that_can_be_read_is_an_error():
    stored, read = newest(dict.fromkeys((3, 6, 9), ValueError("another tree")))
    with pytest.raises(
        CheckpointError, match=r"none .* in DIR .*step 9 \(ValueError: another tree\)"
    ):
        read()
    assert stored.moved == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(5, "Input/output error"),
        PermissionError(13, "Permission denied"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        ValueError("UNKNOWN: Error reading 'd/1' [OS error 5: EIO Input/output error]"),
        ValueError(
            "PERMISSION_DENIED: Error opening 'd/1' [OS error 13: EACCES Permission denied]"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_damage_stops_the_run_and_moves_nothing(error):
    stored, read = newest({9: error})
    with pytest.raises(
        CheckpointError, match=r"step 9 can't be read now .* start the same command"
    ):
        read()
    assert stored.moved == []


def test_keys_that_came_later_are_no_difference():
    """A checkpoint of a version that hadn't them goes on with what that version did."""
    for key, before in resume.CAME_LATER.items():
        stored, read = newest({})
        *sections, name = key.split("/")
        section = stored._record["config"]
        for each in sections:
            section = section[each]
        assert section.pop(name) == before
        assert read()[1] == {"x": 1}
        section[name] = "other"
        dotted = key.replace("/", r"\.")
        with pytest.raises(ConfigError, match=rf"config\.{dotted} was 'other'"):
            read()


def test_all_processes_go_the_way_of_the_worst(monkeypatch):
    """This one could read the newest, another couldn't."""
    others = {9: resume.Verdict.DAMAGED, 6: resume.Verdict.READ}
    monkeypatch.setattr(
        resume, "values_of_all", lambda value, where: [value, others[int(where.split()[4])]]
    )
    stored, read = newest({})
    read()
    assert stored.moved == [9]
    others[9] = resume.Verdict.NOT_NOW
    stored, read = newest({})
    with pytest.raises(CheckpointError, match=r"step 9 can't be read now .in another process"):
        read()


def test_processes_that_deal_scenes_otherwise_do_not_start(monkeypatch):
    """Another one couldn't read a scene when it measured them."""
    monkeypatch.setattr(resume, "values_of_all", lambda value, where: [value, value])
    resume._check_order("0123456789abcdef", Path("shards"))
    monkeypatch.setattr(resume, "values_of_all", lambda value, where: [value, value + 1])
    with pytest.raises(ConfigError, match=r"data\.balance.*delete sizes-\*\.npz"):
        resume._check_order("fedcba9876543210", Path("shards"))


def test_what_computes_the_same_may_change():
    config = tiny.config("unused")
    saved = plain(config)
    config.model.remat, config.model.unroll, config.loss.accumulate = "full", 2, 2
    config.data.num_workers, config.log_every, config.mesh.fsdp = 7, 3, 2
    assert resume.changed_on_purpose(saved, plain(config), 3) == []


@pytest.mark.parametrize(
    "allow", [("optimizer.learning_rate,steps",), ("optimizer.learning_rate", "steps")]
)
def test_what_changes_the_result_may_be_changed_on_purpose(allow):
    config = tiny.config("unused", steps=6)
    saved = plain(config)
    config.optimizer.learning_rate, config.steps = 0.5, 9
    with pytest.raises(
        ConfigError,
        match=r"config\.optimizer\.learning_rate was 0\.001 and is 0\.5; config\.steps was 6 and is 9.*"
        r"--config\.resume\.allow=optimizer\.learning_rate,steps to change that from here on",
    ):
        resume.changed_on_purpose(saved, plain(config), 3)
    config.resume.allow = allow
    assert resume.changed_on_purpose(saved, plain(config), 3) == [
        {"step": 3, "key": "config.optimizer.learning_rate", "was": 0.001, "now": 0.5},
        {"step": 3, "key": "config.steps", "was": 6, "now": 9},
    ]


def test_an_earlier_name_is_answered_with_the_new_one():
    config = tiny.config("", resume__allow=("optimizer.peak",))
    with pytest.raises(ConfigError, match=r"optimizer\.peak: this is optimizer\.learning_rate now"):
        resume.changed_on_purpose(plain(config), plain(config), 3)


def test_only_what_leaves_the_state_as_it_is_may_be_allowed():
    config = tiny.config("unused")
    saved = plain(config)
    config.resume.allow = ("model.embed_dim",)
    with pytest.raises(
        ConfigError, match=r"config\.resume\.allow names model\.embed_dim: on purpose"
    ):
        resume.changed_on_purpose(saved, plain(config), 3)
    config.resume.allow = ("steps",)
    config.model.embed_dim = 8
    with pytest.raises(
        ConfigError, match=r"embed_dim was 16 and is 8\. Give the same settings"
    ) as error:
        resume.changed_on_purpose(saved, plain(config), 3)
    assert "resume.allow" not in str(error.value)  # it would lead nowhere


def test_weights_to_start_from_are_not_ignored_when_a_run_resumes(tmp_path, monkeypatch):
    config = tiny.config("unused")
    saved = plain(config)
    config.init_from = "openai/clip-vit-base-patch32"
    with pytest.raises(
        ConfigError, match=r"config\.init_from=openai/.*only when a run starts.*random ones.*Leave"
    ):
        resume.changed_on_purpose(saved, plain(config), 3)
    # The same command again, or the same path written in another way, or nothing.
    assert resume.changed_on_purpose(plain(config), plain(config), 3) == []
    saved["init_from"], config.init_from = "weights", str(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    assert resume.changed_on_purpose(saved, plain(config), 3) == []
    config.init_from = ""
    assert resume.changed_on_purpose(saved, plain(config), 3) == []
