"""Input that hangs is seen, shown and ended."""

import dataclasses
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.epochs import shuffled_index
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.pipeline import train_iterator
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stall import StalledInputError, reading_hangs, within
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.fake_scenes import fake_scene

SETTINGS = DataSettings(
    batch_size=2,
    image_size=32,
    canvas_size=40,
    levels={level: {"text_length": 8} for level in LEVELS},
    stall_seconds=3,
)


class Hangs(list):
    """Scenes of which one is never read."""

    at = 3

    def __getitem__(self, index):
        if index == self.at:
            time.sleep(60)
        return super().__getitem__(index)


def test_what_comes_in_time_comes_unchanged():
    assert within(5, lambda: 7, "it") == 7
    assert within(0, lambda: 7, "it") == 7
    with pytest.raises(StopIteration):
        within(5, iter(()).__next__, "it")


def test_a_wait_is_given_up_at_once_when_asked(capfd):
    release, asked = threading.Event(), iter([False, True, True])
    started = time.monotonic()
    with pytest.raises(StalledInputError, match="stopped while waiting for it"):
        within(600, release.wait, "it", give_up=lambda: next(asked))
    assert time.monotonic() - started < 10
    assert reading_hangs()
    assert not capfd.readouterr().err  # nothing is wrong, so no stacks
    release.set()
    while reading_hangs():
        time.sleep(0.01)


HANGS_AT_THE_END = """
import threading, time
from scenarioclip_jax.data import stall
from scenarioclip_jax.train import loop

def train(config, workdir):
    reader = threading.Thread(target=time.sleep, args=(600,))  # like a pool's: the interpreter waits for it
    reader.start()
    try:
        stall.within(600, reader.join, "it", give_up=lambda: True)
    except stall.StalledInputError:
        print("stopped", flush=True)

loop.train = train
from scenarioclip_jax.main import run
run()
"""


@pytest.mark.slow
def test_the_command_ends_though_a_thread_hangs(tmp_path):
    config = Path(__file__).parents[2] / "configs" / "pretrain.py"
    command = [
        sys.executable,
        "-c",
        HANGS_AT_THE_END,
        f"--config={config}",
        f"--workdir={tmp_path}",
    ]
    done = subprocess.run(
        [*command, "--config.compilation_cache="], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("stopped\n")


def test_a_hanging_read_while_evaluating(tmp_path):
    tokenizer = train_tokenizer(["thing on other action"], tmp_path, vocab_size=300)
    settings = dataclasses.replace(SETTINGS, stall_seconds=1)
    batches = EvaluationBatches(Hangs(fake_scene(i) for i in range(4)), tokenizer, settings)
    with pytest.raises(StalledInputError, match="record 3 to evaluate on did not come"):
        list(batches)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_hanging_read_is_shown_and_ended(workers, tmp_path, capfd):
    tokenizer = train_tokenizer(["thing on other action"], tmp_path, vocab_size=300)
    settings = dataclasses.replace(SETTINGS, num_workers=workers, stall_seconds=300)
    scenes = Hangs(fake_scene(i) for i in range(4))
    scenes.at = shuffled_index(settings.seed, settings.batch_size, len(scenes))  # second batch
    iterator = train_iterator(scenes, tokenizer, settings)
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    next(iterator)  # a worker takes several seconds to start
    later = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    later.start()
    iterator._settings = dataclasses.replace(settings, stall_seconds=1)
    with pytest.raises(
        StalledInputError, match=r"the batch of step 2 did not come.*stall_seconds=1;"
    ):
        next(iterator)
    for process in (other, later):
        assert process.is_alive()  # a process that doesn't read is left alone
        process.kill()
        process.join()
    stacks = capfd.readouterr().err
    assert "in __getitem__" in stacks  # where it hangs
    assert ("stacks of reading worker" in stacks) == bool(workers)
    deadline = time.monotonic() + 120
    while multiprocessing.active_children():
        assert time.monotonic() < deadline
        time.sleep(0.1)
