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
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


# A conversion that has written everything but not yet published it, and waits there for a signal. `lost`: the
# exception that the signal raises is discarded, as Python discards what is raised while it destroys an object.
HELD = """
import contextlib, sys, time
from scenarioclip_jax import checkpoint
from scenarioclip_jax.convert import main
save = checkpoint.save_model
def held(*args, **kwargs):
    save(*args, **kwargs)
    with contextlib.suppress(BaseException) if sys.argv[1] == "lost" else contextlib.nullcontext():
        print("written", flush=True)
        time.sleep(300)
checkpoint.save_model = held
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGINT, "raised"),
        (signal.SIGTERM, "raised"),
        (signal.SIGINT, "lost"),
        (signal.SIGTERM, "lost"),
        (signal.SIGKILL, "raised"),
    ],
)
def test_interrupted_conversion_leaves_no_output(tmp_path, number, how):
    clip = helpers.write_clip(tmp_path / "clip")
    work = tmp_path / "work"
    work.mkdir()
    arguments = ["from-huggingface", f"--model={clip}", f"--output={work / 'out'}"]
    process = subprocess.Popen(
        with_default_signals([sys.executable, "-c", HELD, how, *arguments]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "written\n", process.stderr.read()
    process.send_signal(number)
    said = process.communicate(timeout=300)[1]
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    assert process.returncode == codes[number], said
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert said.splitlines()[-1] == "interrupted; nothing was written"
        assert list(work.iterdir()) == []
    else:  # nothing could clean up, but nothing looks like output
        assert [entry.name for entry in work.iterdir()] == [".out.partial"]
        assert run(*arguments).returncode == 0  # and the next try isn't disturbed
        assert [entry.name for entry in work.iterdir()] == ["out"]


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


def test_pytorch_is_not_needed(tmp_path):
    clip = helpers.write_clip(tmp_path / "clip")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    env = os.environ | {"PYTHONPATH": str(blocked)}
    done = run("from-huggingface", "--model", clip, "--output", tmp_path / "a", env=env)
    assert done.returncode == 0, done.stderr
    done = run("to-pytorch", "--checkpoint", tmp_path / "a", "--output", tmp_path / "b", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "b" / "config.json").read_text())["arch"] == "scenario_clip_1"
    done = run(
        *("to-pytorch", "--checkpoint", tmp_path / "a", "--output", tmp_path / "c"),
        *("--layout", "reference"),
        env=env,
    )
    assert "error: --layout reference needs PyTorch: pip install torch" in done.stderr
    assert not (tmp_path / "c").exists()
    (clip / "model.safetensors").rename(clip / "pytorch_model.bin")
    done = run("from-huggingface", "--model", clip, "--output", tmp_path / "d", env=env)
    assert "PyTorch isn't installed; pip install torch, or give safetensors" in done.stderr
