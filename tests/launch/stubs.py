"""Stub programs in place of Slurm, gcloud, kubectl and Python: no cluster, no training."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from scenarioclip_jax.shell import to_paste

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
# What shells, YAML and Kubernetes like to misread.
AWKWARD = [
    "--config=configs/pretrain.py:vitb32",
    "two words",
    'it\'s "quoted"',
    "$HOME $(date) `date` ${ARGS} $(POD) $$",
    "back\\slash \\n & ; | * ? [a] {b,c} # ~ !",
    "",
    "  spaces  ",
    "ünï: - ,",
]


def unchanged(text: str) -> str:
    """What Kubernetes makes of an argument: $$ is $, and $(NAME) would be replaced."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda m: "$" if m[1] == "$" else f"<replaced {m[1]}>", text)


class Stubs:
    """Programs that stand first on PATH and write down how they were called."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder / "stubs", folder / "calls.jsonl"
        self.folder.mkdir()
        self.env = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        for name in [*self.env]:
            if name.startswith(("SLURM_", "SBATCH_", "JAX_")) or name in ("XLA_FLAGS", "PYTHON"):
                del self.env[name]

    def add(self, name: str, body: str = "", folder: Path | None = None) -> Path:
        """`body` is Python; it may use `argv` and `earlier`, the number of earlier calls with these words."""
        return self.write(
            (folder or self.folder) / name,
            "import json, os, pathlib, sys\n"
            "argv = sys.argv[1:]\n"
            f"log = pathlib.Path({str(self.log)!r})\n"
            f"call = dict(name={name!r}, argv=argv, stdin='' if sys.stdin is None else sys.stdin.read())\n"
            "lines = log.read_text().splitlines() if log.exists() else []\n"
            "earlier = [json.loads(line)['argv'] for line in lines].count(argv)\n"
            "with log.open('a') as out: out.write(json.dumps(call) + '\\n')\n"
            f"{body}\n",
        )

    @staticmethod
    def write(file: Path, code: str) -> Path:
        """A program that runs Python code. Its first line names no path, which may have spaces."""
        file.parent.mkdir(parents=True, exist_ok=True)
        python = to_paste(sys.executable)
        file.write_text(f'#!/bin/sh\nexec {python} -IS -c {shlex.quote(code)} "$@"\n')
        file.chmod(0o755)
        return file

    def run(self, *command: str | Path, check: int | None = 0, **env: str):
        done = subprocess.run(
            [str(word) for word in command],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert check is None or done.returncode == check, done.stdout + done.stderr
        return done

    def calls(self) -> list[dict]:
        """Calls since the last question."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return [json.loads(line) for line in lines]


SLURM = ["slurm.sh", "--nodes=4", "--gpus-per-node=8", "--workdir=/w"]
TPU_VM = ["tpu_vm.sh", "--name=n", "--zone=z", "--repo=r", "--workdir=/w"]
GKE = ["gke.sh", "--image=i", "--workdir=/shared/w"]
ANNOTATE_SLURM = ["annotate_slurm.sh", "--shards=4", "--output=/w"]
ANNOTATE_K8S = ["annotate_k8s.sh", "--image=i", "--shards=4", "--output=/shared/w"]


def launch(*words):
    return LAUNCH / words[0], *words[1:]


SAVES_ON_SIGTERM = """
import signal, time
signals = []
signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
print("ready", flush=True)
end = time.monotonic() + 15  # a test that fails leaves nothing running
while not signals and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
print("signals:", len(signals), flush=True)
"""
