"""`python -m scenarioclip_jax.describe`: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import inference, loading
from scenarioclip_jax.describe import command
from tests.describe.test_describe import BOXES, PHOTO, WORDS
from tests.describe.test_describe import model as known  # noqa: F401


@pytest.fixture
def given(tmp_path, monkeypatch, known):  # noqa: F811
    """Arguments for a photo and words in files; the model is one whose answers are known."""
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    known.describe = lambda *args, **kwargs: inference.describe(known, *args, **kwargs)
    monkeypatch.setattr(loading, "load", lambda *_, **__: known)
    return [f"--photo={tmp_path / 'photo.png'}", f"--words={tmp_path / 'words.json'}", "--model=m"]


def boxes_file(tmp_path, entries):
    (tmp_path / "boxes.json").write_text(
        entries if isinstance(entries, str) else json.dumps(entries)
    )
    return f"--boxes={tmp_path / 'boxes.json'}"


def test_it_prints_and_writes_what_was_found(given, tmp_path, capsys):
    flags = [f"--box={','.join(map(str, box))}" for box in BOXES]
    flags += [f"--json={tmp_path / 'found.json'}", f"--picture={tmp_path / 'scene.jpg'}"]
    command.main([*given, *flags])
    printed = capsys.readouterr().out
    assert "man riding horse  (0, 1)" in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["name"] for each in found["objects"]] == ["man", "horse", "hat"]
    assert np.asarray(Image.open(tmp_path / "scene.jpg")).ndim == 3
    command.main([*given, boxes_file(tmp_path, BOXES)])
    assert capsys.readouterr().out == printed
    named = [{"box": box, "name": name} for box, name in zip(BOXES, WORDS["objects"], strict=True)]
    command.main([*given, boxes_file(tmp_path, named), "--relations=1"])
    assert "100.0%  0: man" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "can't be read as JSON"),
        ([], "expected a list of"),
        ({"box": 1}, "expected a list of"),
        (
            [{"box": BOXES[0], "name": "a"}, {"box": BOXES[1]}],
            "entry 1 has no name and others have",
        ),
        ([{"name": "a"}], "entry 0 has no box"),
        ([[1, 2, 3]], r"expected \[N, 4\]"),
    ],
)
def test_boxes_that_cannot_be_read(given, tmp_path, entries, message):
    with pytest.raises(SystemExit, match=f"^describe: .*{message}"):
        command.main([*given, boxes_file(tmp_path, entries)])


def test_other_mistakes(given, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^describe: .*nowhere\.png"):
        command.main([*given, f"--photo={tmp_path / 'nowhere.png'}"])
    with pytest.raises(SystemExit):
        command.main([*given, "--box=1,2,3"])
    assert "must be X0,Y0,X1,Y1" in capsys.readouterr().err
    box = ["--box", ",".join(map(str, BOXES[0]))]
    with pytest.raises(SystemExit, match=r"^describe: .*a\.xyz: a picture can't be written"):
        command.main([*given, *box, f"--picture={tmp_path / 'a.xyz'}"])
    with pytest.raises(SystemExit, match="is a folder; name a file in it"):
        command.main([*given, *box, f"--json={tmp_path}"])


def test_a_box_may_begin_left_of_the_photo(given, known, capsys):  # noqa: F811
    known._objects[-5, 10, 60, 60] = {"man": 1}
    command.main([*given, "--box", "-5,10,60,60"])
    assert "0: man  [-5, 10, 60, 60]" in capsys.readouterr().out
