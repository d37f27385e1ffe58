"""The notebooks, run as they are on a tiny checkpoint: what they promise stands in their outputs."""

import base64
import io
import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from scenarioclip_jax.evaluation.report import charts
from tests.evaluation.tiny_model import write_model

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("quickstart", "your_photos", "evaluate", "look_inside", "to_pytorch")


@pytest.fixture(scope="module")
def execute(small_data, tmp_path_factory):
    """Runs a notebook where it lies; everything that it keeps goes to a home of its own."""
    root = tmp_path_factory.mktemp("notebooks")
    checkpoint = write_model(root / "run", small_data)
    config = {"data": {"dir": str(small_data)}, "embedded": {"num_scenes": 150, "seed": 1}}
    (checkpoint / "config.json").write_text(json.dumps(config))

    def run(name: str, checkpoint: Path = checkpoint) -> nbformat.NotebookNode:
        environment = os.environ | {
            "HOME": str(root),
            "PYTHONPATH": str(FOLDER.parent),
            "SCENARIOCLIP_CHECKPOINT": str(checkpoint),
            # One device: this process's eight would only cost time, as would a good compiler.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        resources = {"metadata": {"path": str(FOLDER)}}
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources)
        return client.execute(env=environment)

    return run


def outputs(notebook) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text(notebook) -> str:
    return "".join(o["text"] for o in outputs(notebook) if o["output_type"] == "stream")


def pages(notebook) -> list[str]:
    """The pieces of HTML in a notebook's outputs."""
    found = [output.get("data", {}).get("text/html", "") for output in outputs(notebook)]
    return [each for each in found if each]


def figures(notebook) -> list[np.ndarray]:
    """The pictures in a notebook's outputs, RGB; none of them is blank."""
    found = []
    for output in outputs(notebook):
        if encoded := output.get("data", {}).get("image/png"):
            image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
            found.append(np.asarray(image))
            assert len(np.unique(found[-1].reshape(-1, 3), axis=0)) > 20
    return found


@pytest.mark.slow
def test_quickstart(execute):
    notebook = execute("quickstart")
    assert "scenario_clip_1" in text(notebook)
    assert re.search(r"object: \d+ test pictures, 36 texts", text(notebook))
    assert len(figures(notebook)) == 2


@pytest.mark.slow
def test_your_photos(execute):
    notebook = execute("your_photos")
    printed = text(notebook)
    photos, names = re.search(r"(\d+) photos, (\d+) names", printed).groups()
    assert int(photos) >= 6
    assert int(names) == 36
    # The first photo's scene graph: an action, objects with boxes, relations with both ends.
    assert re.search(r"%  0: .*\[\d+, \d+, \d+, \d+\]", printed)
    assert re.search(r"%  .* \(\d, \d\)", printed)
    counts = {level: int(n) for level, n in re.findall(r"(global|object|relation): (\d+)", printed)}
    assert counts["global"] == int(photos)
    assert counts["object"] > counts["global"]
    assert len(re.findall(r"\d\d\d\.jpg\n", printed)) == 6
    (found,) = pages(notebook)
    assert found.count('<figure class="photo') == 6
    assert found.count("data:image/jpeg") == 6
    assert '<rect class="box second"' in found  # both ends of a relation
    assert len(figures(notebook)) == 1


@pytest.mark.slow
def test_evaluate(execute):
    notebook = execute("evaluate")
    cards, *tables = pages(notebook)
    assert cards.count('<article class="card') == 3
    assert "times chance" in cards
    html = "".join(tables)
    for suite in ("zero_shot", "retrieval", "hard_negatives", "linear_probe"):
        assert f"<h3>{suite}</h3>" in html
    for part in html.split("<h3>")[1:]:
        assert "<th>student</th><th>ema</th>" in part
    (row,) = re.findall("<tr><td>top 1, any label, mean over classes</td>.*", html)
    assert row.count("<td><b>") == 6  # two models a level
    assert "beats swapped subject and object" in html
    assert len(figures(notebook)) == 4


@pytest.mark.slow
def test_look_inside(execute):
    notebook = execute("look_inside")
    inside, area = re.search(r"(\d+)% of what speaks .* is (\d+)% of", text(notebook)).groups()
    assert 0 <= int(inside) <= 100
    assert 0 < int(area) < 50
    assert len(figures(notebook)) == 3


@pytest.mark.slow
def test_to_pytorch(execute):
    pytest.importorskip("torch")
    notebook = execute("to_pytorch")
    found = re.search(r"largest difference .*: (\S+)", text(notebook))
    assert float(found[1]) < 1e-5
    assert "modeling_scenarioclip.py" in text(notebook)
    assert len(figures(notebook)) == 1


@pytest.mark.slow
def test_a_missing_checkpoint_says_which_command_makes_one(execute, tmp_path):
    with pytest.raises(CellExecutionError) as error:
        execute("quickstart", tmp_path / "gone")
    message = str(error.value)
    assert "holds no training run" in message
    assert "scenarioclip_jax.main --config=configs/pretrain.py --workdir=" in message


def test_the_evaluation_shows_what_there_is():
    """Without a result, as where suites fail, the cells after the evaluation have nothing to show."""
    notebook = nbformat.read(FOLDER / "evaluate.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"][2:]
    failed = {"zero_shot": {"reason": "the disk is gone"}}
    summary = {"models": {"student": {}}, "suites": {}, "failed": failed, "left_out": {}}
    shown = []
    names = {"summary": summary, "results": {}, "charts": charts, "display": shown.append}
    for cell in cells:
        exec(cell, names)
    assert len(cells) == 4
    assert shown == []


@pytest.mark.parametrize("name", NAMES)
def test_committed_without_outputs(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not outputs(notebook)
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
    assert path.stat().st_size < 20_000
    source = "".join(cell["source"] for cell in notebook.cells)
    assert 'os.environ.get("SCENARIOCLIP_CHECKPOINT", "runs/demo")' in source


def test_every_notebook_is_tested():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
