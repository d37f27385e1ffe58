"""Settings in YAML: defaults where nothing is said, and errors that name file, setting and remedy."""

import dataclasses
import re

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import json_digest
from scenarioclip_jax.annotate.settings import (
    CaptionSettings,
    Settings,
    TruthSettings,
    VerifySettings,
)
from scenarioclip_jax.annotate.settings_file import read_settings, settings_of
from scenarioclip_jax.annotate.stages import STAGES, VERIFY


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
        ("verify: {prompt: Is it so}", "verify.prompt: doesn't say where the statements belong"),
        ("verify: {endpoints: [http://a/v1]}", "verify.endpoints: belongs to a model of its own"),
        ("verify: {key_variable: KEY}", "verify.key_variable: belongs to a model of its own"),
        ("verify: {unsure: maybe}", "verify.unsure: 'maybe' is neither drop nor keep"),
        ("verify: {statements: 0}", "verify.statements: 0 should be 1 or more"),
        ("verify: {on: true}", "verify.True: there is no such setting"),
        ("truth: {misjudged: 2}", "truth.misjudged: 2.0 isn't between 0 and 1"),
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
    before = Settings(verify=VerifySettings(model="another"))
    for stage in STAGES:
        own = getattr(before, stage.name)
        for field in dataclasses.fields(own):
            value = getattr(own, field.name)
            other = (
                ("x",) if isinstance(value, tuple) else "x" if isinstance(value, str) else value + 1
            )
            changed = dataclasses.replace(own, **{field.name: other})
            settings = dataclasses.replace(before, **{stage.name: changed})
            for each in STAGES:
                differs = json_digest(each.identity(settings)) != json_digest(each.identity(before))
                of_both = each is VERIFY and stage.name == "caption" and field.name in OF_BOTH
                wanted = of_both or (each is stage and field.name not in SPEED)
                assert differs == wanted, f"{stage.name}.{field.name}"


OF_BOTH = ("max_tokens", "max_side")  # how photos are shown to whatever model
SPEED = (
    "enabled",
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
    before = json_digest(caption.identity(Settings()))
    monkeypatch.setattr("scenarioclip_jax.annotate.models.prompts.PROMPT", "What is in this photo?")
    assert json_digest(caption.identity(Settings())) != before
    before = json_digest(VERIFY.identity(Settings()))
    monkeypatch.setattr("scenarioclip_jax.annotate.models.prompts.VERIFY_PROMPT", "{statements}?")
    assert json_digest(VERIFY.identity(Settings())) != before


def test_the_verifier_is_the_captioner_unless_another_is_named():
    caption = CaptionSettings(model="a", endpoints=("http://x/v1",), max_side=99, price_read=1.0)
    found = Settings(caption=caption, verify=VerifySettings(enabled=True)).verifier()
    assert found == caption
    own = VerifySettings(model="b", endpoints=("http://y/v1",), price_written=2.0)
    found = Settings(caption=caption, verify=own).verifier()
    assert (found.model, found.endpoints, found.max_side) == ("b", ("http://y/v1",), 99)
    assert (found.price_read, found.price_written) == (0.0, 2.0)
    # Whose weights are loaded here, and pinned.
    for settings, section in (
        (Settings(), "caption"),
        (Settings(verify=VerifySettings(model="b")), "verify"),
        (Settings(caption=caption), ""),
        (Settings(caption=caption, verify=VerifySettings(model="b")), "verify"),
        (Settings(verify=own), ""),
        (Settings(truth=TruthSettings(folder="t")), ""),
        (Settings(truth=TruthSettings(folder="t"), verify=VerifySettings(model="b")), "verify"),
    ):
        assert VERIFY.weights(settings) == section
    # Another captioner makes its verdicts stale; the record says whose they are.
    identity = VERIFY.identity(Settings(caption=caption))
    assert identity["settings"]["model"] == "a"
    assert identity != VERIFY.identity(Settings())
