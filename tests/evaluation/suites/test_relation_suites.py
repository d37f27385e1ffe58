"""Paraphrases, half-truths and the search of whole photos, by hand; unseen triplets apart."""

import pytest

from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import (
    half_truth,
    hard_negatives,
    paraphrases,
    photo_search,
    zero_shot,
)
from tests.evaluation.fakes import FakeData, FakeEncoder

TRIPLETS = [("lamp", "above", "table"), ("cat", "covering", "rug"), ("man", "near", "dog")]
NEGATIVES = [
    [("table", "above", "lamp")],
    [("rug", "covering", "cat"), ("cat", "under", "rug")],
    [],
]
# Pictures look along the first axis; the rest of a text is what it says wrongly.
TEXTS = {
    "lamp above table": [1, 0],
    "table above lamp": [1, 1],
    "table below lamp": [1, 0.5],
    "lamp over table": [0, 1],
    "cat covering rug": [1, 2],
    "rug covering cat": [1, 1.5],
    "cat under rug": [0, 1],
    "rug covered by cat": [1, 1],
}
ROWS = [([1, 0], " ".join(t), photo) for t, photo in zip(TRIPLETS, "ppq", strict=True)]


def data(**changes):
    given = {
        "triplets": TRIPLETS,
        "negatives": NEGATIVES,
        "paraphrases": [["table below lamp", "lamp over table"], [], []],
    }
    return FakeData({"test": {"relation": ROWS}}, {}, **(given | changes))


def test_paraphrases():
    """The first relation wins, as one paraphrase does; the second loses, and what is made of it wins."""
    result = paraphrases.evaluate(FakeEncoder({}, TEXTS), data(), Settings())
    hits = {"table below lamp": True, "lamp over table": False, "rug covered by cat": True}
    made = [text for text in result.bars["paraphrase beats negatives, by predicate"]]
    assert set(made) == {"above", "covering"}
    assert result.counts["made from the table of predicates"] >= 1
    total = result.counts["paraphrases"]
    assert total == 2 + result.counts["made from the table of predicates"]
    values = result.values()
    assert values["beats negatives"] == pytest.approx(sum(hits.values()) / total)
    assert values["same verdict"] == pytest.approx(1 / total)  # the first paraphrase alone
    chances = [1 / 2, 1 / 2, 1 / 3]
    assert result.metrics["beats negatives"].chance == pytest.approx(sum(chances) / 3)


def test_paraphrases_need_negatives():
    with pytest.raises(UnsupportedError, match="both a paraphrase and a negative"):
        paraphrases.evaluate(FakeEncoder({}, TEXTS), data(negatives=[[], [], []]), Settings())


def test_a_negative_that_is_a_paraphrase_is_none():
    false = [[("table", "below", "lamp")], [], []]
    with pytest.raises(UnsupportedError, match="both a paraphrase and a negative"):
        paraphrases.evaluate(FakeEncoder({}, TEXTS), data(negatives=false), Settings())


class Sums:
    """Embeds the sum of what a text's parts are worth; `and` adds."""

    def __init__(self, parts):
        self.parts = parts

    def fits(self, text, level):
        return True

    def texts(self, texts, level):
        import numpy as np

        return np.array(
            [sum(np.array(self.parts[p], float) for p in t.split(" and ")) for t in texts]
        )


def test_half_truths():
    splits = {
        "relation": ROWS[:2],
        "object": [([1, 0], name, "p") for name in ("lamp", "table", "cat", "rug")],
        "global": [([1, 0], "reading", "p"), ([1, 0], "sleeping", "q")],
    }
    given = FakeData(
        {"test": splits},
        {"object": ["bus", "cat", "lamp", "rug", "table"]},
        TRIPLETS[:2],
        NEGATIVES[:2],
    )
    parts = {"reading": [1, 0.5], "sleeping": [1, 0], "bus": [0, 1]}
    parts |= {"lamp above table": [1, 0], "table above lamp": [0, 1]}  # what is added is heard
    parts |= {"cat covering rug": [1, 1], "rug covering cat": [1, 0]}  # what is added sounds better
    result = half_truth.evaluate(Sums(parts), given, Settings())
    assert result.values() == pytest.approx(
        {
            "relation/relation": 1 / 2,
            "relation/object": 1.0,
            "global/relation": 1.0,
            "global/truth": 1.0,
            "global/object": 1.0,
        }
    )
    assert {metric.chance for metric in result.metrics.values()} == {0.5}
    # Photo q has no objects that are known, and so nothing that is known to be absent.
    assert result.counts == {
        "relation/relation": 2,
        "relation/object": 2,
        "global/relation": 1,
        "global/truth": 1,
        "global/object": 1,
    }
    (failure,) = result.examples["relation/relation: failures"]
    assert failure.caption == "cat covering rug and rug covering cat, rather than cat covering rug"
    nothing = FakeData({"test": {"relation": ROWS[2:]}}, {"object": []}, TRIPLETS[2:], [[]])
    with pytest.raises(UnsupportedError, match="neither negatives nor objects"):
        half_truth.evaluate(Sums(parts), nothing, Settings())


@pytest.mark.parametrize(
    ("of_true", "of_false", "relation", "truth"),
    [
        ([1, 0], [0, 1], 1.0, 1.0),  # each counts as it should
        ([0, 2], [0, 1], 1.0, 0.0),  # whatever is added counts against a text
        ([2, 0], [1, 0], 0.0, 1.0),  # whatever is added counts for it
    ],
)
def test_preferring_short_texts_is_not_enough(of_true, of_false, relation, truth):
    splits = {"relation": ROWS[:1], "global": [([1, 0], "reading", "p")]}
    given = FakeData({"test": splits}, {"object": ["lamp"]}, TRIPLETS[:1], NEGATIVES[:1])
    parts = {"reading": [1, 1], "lamp above table": of_true, "table above lamp": of_false}
    values = half_truth.evaluate(Sums(parts), given, Settings()).values()
    assert (values["global/relation"], values["global/truth"]) == (relation, truth)


def test_what_is_true_elsewhere_in_a_photo_is_no_half_truth():
    triplets = [("lamp", "above", "table"), ("table", "above", "lamp")]  # two of each
    splits = {
        "relation": [([1, 0], " ".join(t), "p") for t in triplets],
        "global": [([1, 0], "reading", "p")],
    }
    told_again = ("lamp", "below", "table")  # what the second relation says, in other words
    negatives = [[*triplets[1:], told_again], [*triplets[:1], ("table", "on", "lamp")]]
    found = half_truth.pairs(FakeData({"test": splits}, {}, triplets, negatives).split("test"), [])
    added = "reading and table above lamp", "reading and table on lamp"
    assert found["global/truth"] == ("global", [0], [added[0]], [added[1]])
    assert found["global/relation"] == ("global", [0], ["reading"], [added[1]])
    of_second = ["table above lamp"], ["table above lamp and table on lamp"]
    assert found["relation/relation"] == ("relation", [1], *of_second)


def test_what_is_added_to_a_half_truth_is_not_there():
    """Whatever it is called there; and only texts that are read to their end say anything."""
    triplets = [("man", "on", "horse"), ("cup", "on", "saucer")]
    splits = {
        "relation": [([1, 0], " ".join(t), photo) for t, photo in zip(triplets, "pq", strict=True)],
        "object": [([1, 0], "rug", "p"), ([1, 0], "rug", "q")],
    }
    names = ["horses", "person", "riding horse", "rug", "teacup", "bus"]
    given = FakeData({"test": splits}, {"object": names}, triplets, [[], []])
    found = half_truth.pairs(given.split("test"), names)
    assert found.keys() == {"relation/object"}
    for half in found["relation/object"][3]:
        assert not any(f" and {name}" in half for name in ("horses", "person", "rug")) or (
            "cup" in half and "rug" not in half
        )
    assert half_truth._absent("p", ["person", "man", "horse"], {"man", "horse"}) is None

    class Short(Sums):
        def fits(self, text, level):
            return "man" not in text

    parts = {"cup on saucer": [1, 0]} | {name: [0, 1] for name in names}
    result = half_truth.evaluate(Short(parts), given, Settings())
    assert result.counts == {"relation/object": 1}
    assert result.skips.summary()["longer than the texts of its level"]["count"] == 1


def test_searching_photos():
    """Photo p is at (1, 0), q at (0, 1), r between them; two photos show a cat."""
    splits = {
        "global": [([1, 0], "a", "p"), ([0, 1], "b", "q"), ([2, 1], "c", "r")],
        "object": [([9, 9], "cat", "p"), ([9, 9], "cat", "r"), ([9, 9], "dog", "q")],
        "relation": [([9, 9], "cat covering rug", "r")],
    }
    texts = {
        "cat": {"object": [1, 0.8], "global": [0, 1]},
        "dog": {"object": [1, 0], "global": [0, 1]},
        "cat covering rug": {"relation": [1, 0], "global": [2, 1]},
    }
    given = FakeData({"test": splits}, {}, [("cat", "covering", "rug")], [[]])
    result = photo_search.evaluate(FakeEncoder({}, texts), given, Settings())
    values = result.values()
    assert values["object/R@1"] == 1 / 2  # cat finds r; dog finds p
    assert values["object/median_rank"] == (1 + 3) / 2
    assert values["object as global/R@1"] == 1 / 2  # cat finds q; dog finds q
    assert (values["relation/R@1"], values["relation as global/R@1"]) == (0, 1)
    assert values["relation/R@5"] == 1  # k is capped at three photos
    assert result.metrics["object/R@1"].chance == pytest.approx((2 / 3 + 1 / 3) / 2)
    shown = result.examples["relation: photos nearest to “cat covering rug”"]
    assert [each.caption for each in shown] == ["p", "r", "q"]
    assert [each.right for each in shown] == [False, True, False]
    lonely = FakeData({"test": {"global": splits["global"][:1]}}, {})
    with pytest.raises(UnsupportedError, match="no two photos"):
        photo_search.evaluate(FakeEncoder({}, texts), lonely, Settings())


def test_unseen_triplets_are_scored_apart():
    given = data(unseen=["cat covering rug"])
    values = hard_negatives.evaluate(FakeEncoder({}, TEXTS), given, Settings()).values()
    assert values["all"] == 1 / 2
    assert values["all, unseen"] == 0
    assert values["swapped ends, unseen"] == 0
    assert "other object, unseen" not in values
    seen = hard_negatives.evaluate(FakeEncoder({}, TEXTS), data(), Settings()).values()
    assert not any("unseen" in name for name in seen)

    classes = {"relation": ["cat covering rug", "lamp above table", "man near dog"]}
    texts = TEXTS | {"man near dog": [0, 1]}
    given = FakeData(
        {"test": {"relation": ROWS}}, classes, TRIPLETS, NEGATIVES, unseen=["lamp above table"]
    )
    values = zero_shot.evaluate(FakeEncoder({}, texts), given, Settings()).values()
    assert (values["relation/top1"], values["relation/unseen_top1"]) == (1 / 3, 1)
