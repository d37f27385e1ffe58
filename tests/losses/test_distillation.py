"""Distillation: scalings, averages over ragged scenes, no gradient to the teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from scenarioclip_jax.losses.distillation import Members, distillation_loss, kl, mean_over_scenes

RNG = np.random.default_rng(0)


def embeddings(groups, sizes, d=6):
    return {
        level: jnp.asarray(RNG.normal(size=(groups, n, d)), jnp.float32)
        for level, n in sizes.items()
    }


def plain_kl(student, teacher, temperature):
    p = scipy.special.softmax(np.asarray(teacher, np.float64) / temperature)
    log_q = scipy.special.log_softmax(np.asarray(student, np.float64) / temperature)
    return float((scipy.special.xlogy(p, p) - p * log_q).sum())


def test_plain_is_the_divergence():
    student, teacher = RNG.normal(size=(2, 6)).astype(np.float32)
    ours = kl(jnp.asarray(student), jnp.asarray(teacher), scaling="plain", temperature=0.5)
    assert float(ours) == pytest.approx(plain_kl(student, teacher, 0.5), rel=1e-4)
    assert float(kl(student, student, scaling="plain", temperature=0.5)) == pytest.approx(
        0, abs=1e-6
    )


def test_published_is_the_divergence_divided_by_d_and_times_the_temperature_squared():
    student, teacher = jnp.asarray(RNG.normal(size=(2, 3, 512)), jnp.float32)
    plain = kl(student, teacher, scaling="plain", temperature=0.07)
    published = kl(student, teacher, scaling="published", temperature=0.07)
    np.testing.assert_allclose(published, plain * 0.07**2 / 512, rtol=1e-5)
    assert float((published / plain).max()) < 1e-5  # in effect off


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match=r"'half'.*published, plain"):
        kl(jnp.ones(3), jnp.ones(3), scaling="half", temperature=1.0)


def test_mean_over_each_scenes_slots_then_over_scenes_that_have_any():
    slots = Members(jnp.array([[0, 0, 2, 0]]), jnp.array([[True, True, True, False]]))
    # Scene 0 has 1 and 3, scene 2 has 10, scene 1 has none; the last slot is empty.
    mean = mean_over_scenes(jnp.array([[1.0, 3.0, 10.0, 99.0]]), slots, 3)
    assert float(mean) == pytest.approx((2 + 10) / 2)
    empty = slots._replace(mask=jnp.zeros((1, 4), bool))
    assert float(mean_over_scenes(jnp.ones((1, 4)), empty, 3)) == 0


def test_a_scene_without_text_takes_part_in_the_visual_terms_only():
    sizes = {"global": 2, "object": 3}
    image, text, teacher_image, teacher_text = (embeddings(1, sizes) for _ in range(4))
    owner = Members(jnp.array([[0, 1, 1]]), jnp.ones((1, 3), bool))
    alone = Members(jnp.array([[0, 1, 1]]), jnp.array([[True, False, False]]))

    def loss(text, told, object_slots, image=image):
        whole = Members(jnp.array([[0, 1]]), jnp.array([told]))
        slots = {"global": whole, "object": object_slots}
        how = {"scaling": "plain", "temperature": 0.7}
        return float(distillation_loss(image, text, teacher_image, teacher_text, slots, **how))

    other = text | {"global": text["global"].at[0, 1].set(7.0)}
    assert loss(other, [True, False], owner) == loss(text, [True, False], owner)
    assert loss(other, [True, True], owner) != loss(text, [True, True], owner)
    moved = image | {"object": image["object"].at[0, 1].set(7.0)}
    assert loss(text, [True, False], owner, moved) != loss(text, [True, False], owner)
    # The textual term of scene 1 is 0; the mean is over both scenes.
    visual = loss(text, [False, False], owner)
    of_first = loss(text, [True, False], alone) - loss(text, [False, False], alone)
    assert loss(text, [True, False], owner) == pytest.approx(visual + of_first / 2, rel=1e-5)


def test_the_four_terms():
    sizes = {"global": 2, "object": 3, "relation": 2}
    student_image, student_text, teacher_image, teacher_text = (
        embeddings(1, sizes) for _ in range(4)
    )
    owners = {"object": [0, 1, 1], "relation": [0, 1]}
    slots = {v: Members(jnp.array([o]), jnp.ones((1, len(o)), bool)) for v, o in owners.items()}
    slots["global"] = Members(jnp.array([[0, 1]]), jnp.ones((1, 2), bool))
    ours = distillation_loss(
        student_image,
        student_text,
        teacher_image,
        teacher_text,
        slots,
        scaling="plain",
        temperature=0.7,
    )
    expected = 0.0
    for level, owner in owners.items():
        for scene in (0, 1):
            members = [i for i, s in enumerate(owner) if s == scene]
            for student, teacher in (
                # Visual: the teacher's whole scene teaches the student's crops; text: the reverse way.
                (
                    [student_image[level][0, i] for i in members],
                    [teacher_image["global"][0, scene]],
                ),
                ([student_text["global"][0, scene]], [teacher_text[level][0, i] for i in members]),
            ):
                values = [plain_kl(s, t, 0.7) for s in student for t in teacher]
                expected += np.mean(values) / 2
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_the_teacher_gets_no_gradient():
    student, teacher = jnp.asarray(RNG.normal(size=(2, 4, 6)), jnp.float32)
    grad = jax.grad(lambda s, t: kl(s, t, scaling="plain", temperature=1.0).sum(), argnums=(0, 1))(
        student, teacher
    )
    assert np.any(np.asarray(grad[0]))
    assert not np.any(np.asarray(grad[1]))
