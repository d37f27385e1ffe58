"""The pipeline with models of the real classes: a server with OpenAI's protocol, a detector, a segmenter.

Their weights are random and tiny, so what they find means nothing; but it passes through all stages.
"""

import json

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.settings_file import read_settings
from tests.annotate.models import tiny
from tests.annotate.models.chat_server import ANSWER, Reply, serving
from tests.annotate.test_pipeline import NAMES, scenes, table, written

COUNT = 24
SOME = 3  # photos whose first answer is no JSON


def decide(body, number):
    """In code fences as often as not; the first answers are cut off."""
    if number < SOME:
        return Reply(json.dumps(ANSWER)[:40], finish="length")
    text = json.dumps(ANSWER)
    return Reply(f"Here it is:\n```json\n{text}\n```" if number % 2 else text)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_photos_become_scenes_and_what_failed_is_done_later(photos, tmp_path, capsys):
    detector, segmenter = tiny.grounding_dino(tmp_path / "dino"), tiny.sam(tmp_path / "sam")
    settings = {
        "caption": {"model": "tiny", "concurrent": 4},
        "detect": {"model": str(detector), "threshold": 0.0, "text_threshold": 0.0},
        "segment": {"model": str(segmenter)},
        "validate": {"min_score": 0.0, "min_area": 0.0, "max_area": 1.0, "max_aspect": 1000.0},
    }
    command = ["run", "--output", str(photos.work), "--images", str(photos.images)]
    with serving(decide) as server:
        settings["caption"]["endpoints"] = [server.address]
        photos.config.write_text(json.dumps(settings))
        assert main([*command, "--config", str(photos.config)]) == 0
        told = capsys.readouterr().out
        assert f"{SOME} x cut_off" in told
        assert "tokens read" in told
        assert table(photos.work, capsys)["caption"] == [COUNT - SOME, SOME, 0, 0, 0]
        assert main(command) == 0  # with the settings that the folder keeps
    assert table(photos.work, capsys)["caption"] == [COUNT, 0, 0, 0, 0]
    assert {n for (stage, _), n in written(photos.work).items() if stage != "caption"} == {1}
    found = scenes(photos.work)
    assert len(found) == COUNT
    for scene in found.values():
        assert scene["action"] == "running"
        assert {thing["name"] for thing in scene["objects"]} <= {"dog", "grass"}
        for thing in scene["objects"]:
            assert thing["mask"]["size"] == [scene["height"], scene["width"]]
    made = json.loads((photos.work / "dataset/assemble.json").read_text())["made"]
    assert list(made) == list(NAMES)
    assert made["detect"]["settings"]["revision"].startswith("sha256:")

    # Other weights in the same folder are other weights.
    weights = tmp_path / "dino/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    lines = written(photos.work)
    assert main(["detect", "--output", str(photos.work)]) == 0
    assert (written(photos.work) - lines).total() == COUNT
    assert table(photos.work, capsys)["caption"][0] == COUNT
    assert table(photos.work, capsys)["segment"] == [0, 0, COUNT, 0, 0]


def test_a_server_that_is_not_there_is_an_error_that_names_it(photos, capsys):
    settings = {"caption": {"model": "tiny", "endpoints": ["http://127.0.0.1:9/v1"]}}
    photos.config.write_text(json.dumps(settings))
    assert read_settings(photos.config).caption.endpoints
    flags = ["--output", str(photos.work), "--images", str(photos.images)]
    assert main(["run", *flags, "--config", str(photos.config)]) == 1
    assert "http://127.0.0.1:9/v1" in capsys.readouterr().err
    assert table(photos.work, capsys)["caption"] == [0, 0, 0, COUNT, 0]
