"""Settings in YAML: defaults where nothing is said, and errors that name file, setting and remedy."""

import dataclasses
import re

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import digest_of
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.settings_file import read_settings, settings_of
from scenarioclip_jax.annotate.stages import STAGES


def test_what_is_not_said_keeps_its_default(tmp_path):
    file = tmp_path / "annotate.yaml"
    file.write_text("caption:\n  endpoints: [http://localhost:8000/v1]\ndetect: {threshold: 1}\n")
    settings = read_settings(file)
    assert settings.caption.endpoints == ("http://localhost:8000/v1",)
    assert settings.detect.threshold == 1.0
    assert settings.segment == Settings().segment
    file.write_text("")
    assert read_settings(file) == Settings()


def test_settings_survive_json():
    settings = settings_of(
        {"caption": {"endpoints": ["http://a", "https://b"]}, "attempts": 5}, "x"
    )
    assert settings_of(dataclasses.asdict(settings), "x") == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "detect: {treshold: 0.3}",
            "detect.treshold: there is no such setting (did you mean threshold?)",
        ),
        ("detection: {}", "detection: there is no such setting (did you mean detect?)"),
        ("detect: {threshold: high}", "detect.threshold: should be a number, got 'high'"),
        ("detect: {threshold: 30}", "detect.threshold: 30.0 isn't between 0 and 1"),
        ("detect: {threshold: .nan}", "detect.threshold: should be a number"),
        ("detect: {threshold: 1e-3}", "detect.threshold: YAML takes '1e-3' for a text"),
        ("truth: {shifted: .inf}", "truth.shifted: should be a number, got inf"),
        ("caption: {timeout: 0}", "caption.timeout: 0.0 should be above 0"),
        ("caption: {endpoints: [localhost]}", "'localhost' isn't an address such as http://"),
        ("detect: {batch: 0}", "detect.batch: 0 should be 1 or more"),
        ("detect: {batch: true}", "detect.batch: should be a whole number, got True"),
        ("validate: {min_objects: -1}", "validate.min_objects: -1 should be 0 or more"),
        ("caption: {endpoints: [1]}", "caption.endpoints: should be a list of texts"),
        ("negatives: {method: best}", "negatives.method: 'best' is neither checked nor published"),
        (
            "validate: {min_area: 0.5, max_area: 0.2}",
            "validate.min_area is 0.5 and validate.max_area 0.2, so every object",
        ),
        ("detect: 3", "detect should hold settings by name, got 3"),
        ("- a", "the file should hold settings by name"),
        ("a: [", "isn't YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    file = tmp_path / "annotate.yaml"
    file.write_text(text)
    with pytest.raises(WorkError, match=re.escape(message)) as error:
        read_settings(file)
    assert f"--config={file}" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"absent\.yaml: can't be read"):
        read_settings(tmp_path / "absent.yaml")


def test_only_settings_that_change_results_make_records_stale():
    """Each setting of each stage is changed; the stage's identity has to change, or must not."""
    for stage in STAGES:
        own = getattr(Settings(), stage.name)
        for field in dataclasses.fields(own):
            value = getattr(own, field.name)
            other = (
                ("x",) if isinstance(value, tuple) else "x" if isinstance(value, str) else value + 1
            )
            changed = dataclasses.replace(own, **{field.name: other})
            settings = dataclasses.replace(Settings(), **{stage.name: changed})
            for each in STAGES:
                differs = digest_of(each.identity(settings)) != digest_of(each.identity(Settings()))
                speed_only = field.name in SPEED
                assert differs == (each is stage and not speed_only), f"{stage.name}.{field.name}"


SPEED = (
    "endpoints",
    "key_variable",
    "concurrent",
    "timeout",
    "batch",
    "price_read",
    "price_written",
)


def test_another_default_prompt_makes_captions_stale(monkeypatch):
    caption = STAGES[0]
    before = digest_of(caption.identity(Settings()))
    monkeypatch.setattr("scenarioclip_jax.annotate.models.prompts.PROMPT", "What is in this photo?")
    assert digest_of(caption.identity(Settings())) != before
