from collections import Counter

import pytest

from scenarioclip_jax.data.stored import splits


def test_known_answers_never_change():
    """These values are part of the data format: changing them moves photos between splits."""
    ids = [f"scene_{i:06d}" for i in range(12)]
    assert "".join(splits.split_of(i)[0] for i in ids) == "ttttvttttttt"


def test_shares_are_close_to_the_fractions():
    counts = Counter(splits.split_of(f"photo-{i}") for i in range(20_000))
    for name, fraction in zip(splits.SPLITS, splits.FRACTIONS, strict=True):
        assert abs(counts[name] / 20_000 - fraction) < 0.012


def test_a_smaller_train_share_only_moves_photos_out_of_train():
    ids = [str(i) for i in range(500)]
    few = {i for i in ids if splits.split_of(i, (0.5, 0.2, 0.3)) == "train"}
    many = {i for i in ids if splits.split_of(i, (0.7, 0.1, 0.2)) == "train"}
    assert few < many


def test_salt_gives_an_independent_split():
    ids = [str(i) for i in range(2000)]
    both = sum(splits.split_of(i) == "test" == splits.split_of(i, salt="other") for i in ids)
    assert 0.02 < both / 2000 < 0.06  # 0.2 * 0.2


@pytest.mark.parametrize("split", splits.SPLITS)
def test_everything_in_one_split(split):
    fractions = [float(name == split) for name in splits.SPLITS]
    assert {splits.split_of(str(i), fractions) for i in range(200)} == {split}


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.3), (0.5, 0.1, 0.2), (1.2, -0.2, 0), (float("nan"), 0, 1)]
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions must"):
        splits.split_of("a", fractions)
