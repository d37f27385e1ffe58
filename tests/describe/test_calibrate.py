"""Temperatures: found where they are known, kept with the model, and used by its scores."""

import json

import numpy as np
import pytest
from flax import nnx
from scipy.special import softmax

from scenarioclip_jax import checkpoint, load
from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.describe import calibrate as calibrating
from scenarioclip_jax.describe.calibrate import Case, calibration_error, cases, fit, main
from scenarioclip_jax.describe.calibration import CalibrationError
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.scenario_clip import LEVELS, ScenarioCLIP
from tests.evaluation import tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_drawn_answers_is_found(temperature):
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        logits = 3 * rng.standard_normal(6)
        drawn.append(Case(logits, int(rng.choice(6, p=softmax(logits / temperature)))))
    assert fit(drawn) == pytest.approx(temperature, rel=0.07)
    assert calibration_error(drawn, temperature) < 0.03
    assert calibration_error(drawn, 4 * temperature) > 0.1


def test_the_error_is_that_of_its_bins():
    # Two answers are sure to 0.75, of which one is right; two to 0.95, both right.
    def case(share, right):
        return Case(np.log([share, 1 - share]), 0 if right else 1)

    given = [case(0.75, True), case(0.75, False), case(0.95, True), case(0.95, True)]
    assert calibration_error(given, 1.0) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


@pytest.fixture(scope="module")
def folder(small_data, tmp_path_factory):
    """A model that wasn't trained, as a converted one lies on disk."""
    path = tmp_path_factory.mktemp("calibrated") / "model"
    path.mkdir()
    tokenizer = Tokenizer.load(shards.dataset_dir(small_data) / "tokenizer.json")
    tokenizer.save(path)
    arguments = tiny_model.sizes(tokenizer.eos_id) | {"regions": "pooled"}
    arguments["text"] = arguments["text"] | {"vocab_size": tokenizer.vocab_size}
    _, params = parameters.create(lambda: ScenarioCLIP(**arguments, rngs=nnx.Rngs(0)))
    params = {name: np.asarray(value) for name, value in params.items()}
    checkpoint.save_model(path, ModelSpec(arguments, dict.fromkeys(LEVELS, 12)), params, step=1)
    return path


@pytest.mark.slow
def test_every_annotation_is_asked_about(folder, small_data):
    model, source = load(folder), shards.open_split(small_data, "validation")
    scenes = [source[index] for index in range(3)]
    words = read_words(small_data)
    found = cases(model, scenes, words)
    assert len(found["global"]) == 3
    assert len(found["object"]) == sum(len(scene.object_names) for scene in scenes)
    assert len(found["relation"]) == sum(len(scene.relations) for scene in scenes)
    case, relation = found["relation"][0], scenes[0].relations[0]
    text = model.encode_text([" ".join(relation.triplet)], "relation")
    image = model.encode_relations(scenes[0].photo, [relation.boxes])
    own = model.logit_scale("relation") * model.similarity(image, text)[0, 0]
    assert case.logits[case.truth] == pytest.approx(own, abs=1e-4)
    few = words._replace(actions=words.actions[:1], predicates=("above",))
    left = cases(model, scenes, few)
    assert len(left["global"]) == sum(scene.action == words.actions[0] for scene in scenes)
    above = [r for scene in scenes for r in scene.relations if r.triplet[1] == "above"]
    assert len(left["relation"]) == len(above)


@pytest.mark.slow
def test_it_is_kept_with_the_model_and_used(folder, small_data, capsys):
    scene = shards.open_split(small_data, "test")[0]

    def described():
        return load(folder).describe(scene.photo, scene.object_boxes, words=small_data)

    before = described()
    main([f"--model={folder}", f"--data={small_data}", "--scenes=4"])
    printed = capsys.readouterr().out
    kept = json.loads((folder / "calibration.json").read_text())
    assert kept.keys() == {"student"}
    assert kept["student"].keys() == set(LEVELS)
    assert f"temperature {kept['student']['object']['temperature']:.3f}" in printed
    after = described()
    temperature = kept["student"]["object"]["temperature"]
    assert load(folder).temperature("object") == temperature
    # A share's logarithm is its logit over the temperature, but for a constant.
    for one, other in zip(before.objects, after.objects, strict=True):
        differences = [np.log(o.names[0].score / o.names[1].score) for o in (one, other)]
        assert differences[1] == pytest.approx(differences[0] / temperature, rel=1e-3, abs=1e-6)
    (folder / "calibration.json").write_text(json.dumps({"student": {"object": {}}}))
    with pytest.raises(CalibrationError, match=r"calibration\.json: isn't what calibrate wrote"):
        load(folder)
    (folder / "calibration.json").unlink()
    assert load(folder).temperature("object") == 1.0


def test_what_cannot_be_calibrated(folder, small_data, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"^calibrate: .*isn't a folder"):
        main([f"--model={tmp_path / 'nowhere'}", f"--data={small_data}"])
    with pytest.raises(SystemExit, match=r"^calibrate: --scenes is 0; it must be at least 1"):
        main([f"--model={folder}", f"--data={small_data}", "--scenes=0"])
    with pytest.raises(SystemExit, match=r"^calibrate: .*nowhere"):
        main([f"--model={folder}", f"--data={tmp_path / 'nowhere'}"])
    monkeypatch.setattr(calibrating, "cases", lambda *_: {key: [] for key in LEVELS})
    with pytest.raises(SystemExit, match="have no action, object or relation"):
        main([f"--model={folder}", f"--data={small_data}"])
