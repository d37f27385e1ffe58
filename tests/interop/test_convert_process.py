"""The converter as a process: memory, interruption, errors on the command line."""

import json
import os
import signal
import subprocess
import sys

import pytest

from scenarioclip_jax import checkpoint
from tests.harness.started import with_default_signals
from tests.interop import helpers

# Reports the peak of its own memory beyond what the same command on a tiny model needs: libraries, JAX's client
# and the threads that come with the first conversion differ from machine to machine.
MEASURED = """
import json, re, sys
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
from scenarioclip_jax.convert import main
tiny, measured = map(json.loads, sys.argv[1:])
main(tiny)
before = peak()
main(measured)
print("PEAK", peak() - before)
"""


def run(*args, **kwargs):
    command = [sys.executable, "-m", "scenarioclip_jax.convert", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


def peak(tiny: list, measured: list) -> int:
    arguments = [json.dumps([str(word) for word in words]) for words in (tiny, measured)]
    command = [sys.executable, "-c", MEASURED, *arguments]
    # With an arena for each thread, the allocator keeps up to half of the arrays' size beyond what is used.
    one_arena = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_arena)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("PEAK")[1])


def medium_clip(folder):
    """A CLIP of 85 MB, as three levels 255 MB: enough to tell a copy too many from noise."""
    vision = dict(width=512, depth=4, heads=8, mlp_dim=2048, image_size=32, patch_size=8)
    text = dict(width=512, depth=2, heads=8, mlp_dim=2048, vocab_size=4096, max_length=20)
    return helpers.write_clip(
        folder, helpers.clip_arrays(vision, text, 512), helpers.clip_config(vision, text, 512)
    )


def size_of(folder):
    """Bytes of the arrays of a checkpoint."""
    params, ema, _ = checkpoint.load_student_and_ema(folder)
    return sum(v.nbytes for part in (params, ema or {}) for v in part.values())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory(tmp_path):
    """A stand-in for three levels of ViT-L/14, which were measured in the same way:

    from-huggingface, scenario_clip_1: 6.4 GB for 7.1 GB of arrays (0.9), 54 s.
    to-pytorch, float32: 9.3 GB for 5.1 GB (1.8), 43 s. On 2 cores, beyond what the imports need.
    """
    tiny, medium = tmp_path / "tiny", tmp_path / "medium"
    helpers.write_clip(tiny / "clip")
    medium_clip(medium / "clip")

    def used(command, *flags, **paths):
        """Peak of a command; `paths` are flags with folders below that of a model."""
        arguments = [
            [
                command,
                *flags,
                *(f"--{key.replace('_', '-')}={of / path}" for key, path in paths.items()),
            ]
            for of in (tiny, medium)
        ]
        return peak(*arguments)

    peak_in = used("from-huggingface", model="clip", output="ours")
    assert peak_in < 2.5 * size_of(medium / "ours")
    peak_out = used("to-pytorch", checkpoint="ours", output="folder")
    assert peak_out < 2.5 * sum(f.stat().st_size for f in (medium / "folder").glob("*.safetensors"))
    pytest.importorskip("torch")
    peak_out = used("to-pytorch", "--layout=reference", checkpoint="ours", output="reference")
    file = "reference/scenarioclip.ckpt"
    assert peak_out < 2.5 * (medium / file).stat().st_size
    peak_in = used(
        "from-reference", checkpoint=file, clip_config="reference/config.json", output="back"
    )
    assert peak_in < 2.5 * size_of(medium / "back")


# Conversions that have written everything but not yet published it, and wait there for a signal. `lost`: the
# exception that the signal raises is discarded, as Python discards what is raised while it destroys an object.
# The last one ends the process, the others tell how they would have, and what is left beside their output.
HELD = """
import contextlib, pathlib, sys, time
from scenarioclip_jax import checkpoint
from scenarioclip_jax.convert import main
save = checkpoint.save_model
def held(*args, **kwargs):
    save(*args, **kwargs)
    with contextlib.suppress(BaseException) if how == "lost" else contextlib.nullcontext():
        print("written", flush=True)
        time.sleep(300)
checkpoint.save_model = held
*before, last = sys.argv[1].split(",")
for how in before:
    try:
        main(sys.argv[2:])
    except SystemExit as end:
        output = pathlib.Path(sys.argv[-1].partition("=")[2])
        print(end.code, *output.parent.iterdir(), flush=True)
how = last
main(sys.argv[2:])
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.fixture
def held(tmp_path):
    """Starts conversions to `work/out`; and their arguments."""
    clip = helpers.write_clip(tmp_path / "clip")
    (tmp_path / "work").mkdir()
    arguments = ["from-huggingface", f"--model={clip}", f"--output={tmp_path / 'work' / 'out'}"]
    started = []

    def start(*hows):
        words = [sys.executable, "-c", HELD, ",".join(hows), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(with_default_signals(words), **pipes))
        return started[-1]

    yield start, arguments
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_interrupted_conversion_leaves_no_output(tmp_path, held):
    start, _ = held
    cases = [
        (signal.SIGINT, "raised"),
        (signal.SIGINT, "lost"),
        (signal.SIGTERM, "lost"),
        (signal.SIGTERM, "raised"),
    ]
    process = start(*(how for _, how in cases))
    for number, how in cases:
        assert process.stdout.readline() == "written\n", (number, how, process.stderr.read())
        process.send_signal(number)
        said = []
        while not said or said[-1].startswith("reading"):  # what the conversion says of its work
            said.append(process.stderr.readline())
        assert said[-1] == "interrupted; nothing was written\n", (number, how, said)
        if (number, how) != cases[-1]:
            assert process.stdout.readline() == f"{CODES[number]}\n", (number, how)
    assert process.wait(300) == CODES[number]
    assert process.stderr.read() == ""
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.slow  # the quick one is interrupted, in all ways but this
def test_killed_conversion_leaves_nothing_that_looks_like_output(tmp_path, held):
    (start, arguments), work = held, tmp_path / "work"
    process = start("raised")
    assert process.stdout.readline() == "written\n", process.stderr.read()
    process.kill()
    assert process.wait(300) == CODES[signal.SIGKILL]
    assert [entry.name for entry in work.iterdir()] == [".out.partial"]
    assert run(*arguments).returncode == 0  # and the next try isn't disturbed
    assert [entry.name for entry in work.iterdir()] == ["out"]


@pytest.mark.slow
def test_errors_are_one_message_without_a_traceback(tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    weights = clip / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = run("from-huggingface", "--model", clip, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"error: {weights}: not a complete safetensors file" in done.stderr
    assert "copy or download it again" in done.stderr
    assert not (tmp_path / "out").exists()


# Conversions one after the other; prints how each ended.
IN_TURN = """
import json, sys
from scenarioclip_jax.convert import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
        print("done")
    except SystemExit as end:
        print(end.code)
"""


@pytest.mark.slow
def test_pytorch_is_not_needed(tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    pickled = helpers.write_clip(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    conversions = [
        ["from-huggingface", f"--model={clip}", f"--output={tmp_path / 'a'}"],
        ["to-pytorch", f"--checkpoint={tmp_path / 'a'}", f"--output={tmp_path / 'b'}"],
        [
            *("to-pytorch", f"--checkpoint={tmp_path / 'a'}", f"--output={tmp_path / 'c'}"),
            "--layout=reference",
        ],
        ["from-huggingface", f"--model={pickled}", f"--output={tmp_path / 'd'}"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(conversions)],
        env=os.environ | {"PYTHONPATH": str(blocked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stdout.splitlines() if line.startswith(("done", "error"))]
    assert ends[:2] == ["done", "done"], done.stdout
    assert json.loads((tmp_path / "b" / "config.json").read_text())["arch"] == "scenario_clip_1"
    assert "error: --layout reference needs PyTorch: pip install torch" in ends[2]
    assert not (tmp_path / "c").exists()
    assert "PyTorch isn't installed; pip install torch, or give safetensors" in ends[3]
    assert not (tmp_path / "d").exists()
