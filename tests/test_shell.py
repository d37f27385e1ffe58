"""What is printed to be pasted means the same to a shell, whatever paths hold."""

import subprocess

import pytest

from scenarioclip_jax.shell import to_paste

AWKWARD = [
    "two words",
    "it's",
    '"quoted"',
    "$HOME `date` $(date)",
    "a;b&c|d*?[e]",
    "ünï",
    "",
    "~x",
    "#",
]


@pytest.mark.parametrize("word", AWKWARD)
def test_a_shell_reads_the_same_words(word):
    words = ["--output", word, f"--workdir={word}", f"--config.data.dir={word}", f"NAME={word}"]
    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {to_paste('x', *words)}"], capture_output=True, check=True
    )
    assert printed.stdout.decode().split("\0")[1:-1] == words


def test_plain_words_stay_as_they_are():
    command = "python -m scenarioclip_jax.main --config=configs/pretrain.py:demo --workdir=runs/a"
    assert to_paste(*command.split()) == command
