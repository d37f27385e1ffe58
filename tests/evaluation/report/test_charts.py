"""What stands in charts and tables is what was found: positions, colors and order by hand."""

import re

import numpy as np
import pytest

from scenarioclip_jax.evaluation.report import charts, pictures
from scenarioclip_jax.evaluation.report.headlines import headline_metrics, headlines
from scenarioclip_jax.evaluation.report.tables import table
from scenarioclip_jax.evaluation.score.result import Confusion


def metric(value, chance=None, unit="share"):
    interval = [value - 0.05, value + 0.05]
    return {"value": value, "interval": interval, "chance": chance, "samples": 9, "unit": unit}


def summary():
    names = ("object/top1", "object/macro_top1", "object/any_label_top1", "relation/top1")
    zero_shot = {name: metric(0.2 + i / 10, 0.1) for i, name in enumerate(names)}
    aro = {"relation/macro_accuracy": metric(0.6), "relation/accuracy": metric(0.7)}
    retrieval = {"object/text_to_image/median_rank": metric(3.0, unit="rank")}
    retrieval |= {f"object/text_to_image/R@{k}": metric(k / 20) for k in (1, 5, 10)}
    hard = {"all": metric(0.3, 0.25), "swapped ends": metric(0.5, 0.5)}
    suites = {"zero_shot": zero_shot, "retrieval": retrieval, "hard_negatives": hard, "aro": aro}
    columns = {"student": 0.0, "ema": 0.1}
    shifted = {
        suite: {
            "columns": {
                column: {"metrics": {k: v | {"value": v["value"] + by} for k, v in metrics.items()}}
                for column, by in columns.items()
            }
        }
        for suite, metrics in suites.items()
    }
    return {"models": dict.fromkeys(columns), "suites": shifted}


def test_the_overview_shows_the_main_figures():
    assert headlines(summary()) == [
        ("zero_shot", "object/top1"),
        ("zero_shot", "relation/top1"),
        ("retrieval", "object/text_to_image/R@5"),
        ("hard_negatives", "all"),
        ("hard_negatives", "swapped ends"),
        ("aro", "relation/macro_accuracy"),
    ]
    axis = charts.overview(summary()).axes[0]
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    found = {color: [] for color in charts.MODELS[:2]}
    for dot in dots:
        found[dot.get_color()].append(dot.get_xdata()[0])
    np.testing.assert_allclose(found[charts.BLUE], [20, 50, 25, 30, 50, 60])
    np.testing.assert_allclose(found[charts.ORANGE], [30, 60, 35, 40, 60, 70])
    chance = [line.get_xdata()[0] for line in axis.lines if line.get_color() == pictures.LINE]
    np.testing.assert_allclose(chance, [10, 10, 25, 50])


def test_an_overview_needs_no_headline():
    of = {"models": {"student": {}}, "suites": {}}
    partial = {"attribution/accuracy": metric(0.7, 0.5)}
    of["suites"]["aro"] = {"columns": {"student": {"metrics": partial}}}
    assert headlines(of) == [("aro", "attribution/accuracy")]
    (dot,) = [line for line in charts.overview(of).axes[0].lines if line.get_marker() == "o"]
    assert dot.get_xdata()[0] == 70
    ranks = {"text_to_image/median_rank": metric(3.0, unit="rank")}
    of["suites"] = {"retrieval": {"columns": {"student": {"metrics": ranks}}}}
    assert headlines(of) == []
    assert not charts.overview(of).axes[0].lines


def test_a_table_has_the_rows_of_all_models():
    of = summary()
    columns = of["suites"]["hard_negatives"]["columns"]
    del columns["student"]
    columns["ema"]["metrics"]["swapped names"] = metric(0.4)
    shown = table(of, "hard_negatives")
    assert re.findall(r"<tr><td>([^<]*)", shown) == [
        "beats all of its negatives",
        "beats swapped subject and object",
        "swapped names",  # which has no name of its own
    ]
    assert "<td><b>-</b></td><td><b>40.0%</b>" in shown


@pytest.mark.parametrize(
    ("suite", "others", "main"),
    [
        ("sugarcrepe", ["swap_obj/accuracy", "add_att/accuracy"], ["mean_accuracy"]),
        (
            "sugarcrepe_pp",
            ["swap_object/image_text", "swap_object/text_only"],
            ["mean_image_text", "mean_text_only"],
        ),
        ("winoground", [], ["text", "image", "group"]),
        ("whatsup", ["A/accuracy"], ["A/individual", "A/pair", "A/set", "B/individual"]),
    ],
)
def test_suites_on_files_lead_with_their_own_main_figures(suite, others, main):
    assert headline_metrics(suite, others + main) == main


def test_tables_have_a_column_per_level_with_the_plain_figures_first():
    shown = table(summary(), "zero_shot")
    plain, folded = shown.split("<details>")
    for part in (plain, folded):
        assert re.findall(r'<th class="group" colspan="2">([^<]*)', part)[0] == "Object"
    assert re.findall(r"<tr><td>([^<]*)", plain) == ["top 1"]
    assert re.findall(r"<tr><td>([^<]*)", folded) == [
        "top 1, mean over classes",
        "top 1, any label",
    ]
    # Object, then relation, each of the student and of its EMA.
    assert re.findall(r"<b>([^<]*)", plain) == ["20.0%", "30.0%", "50.0%", "60.0%"]
    cell = "<b>30.0%</b><br><small>25.0% to 35.0%</small><br><small>chance 25.0%</small>"
    assert cell + "<br><small>n = 9</small>" in table(summary(), "hard_negatives")


def test_relevance_is_red_for_and_blue_against():
    view = np.full((4, 4, 3), 200, np.uint8)
    found = pictures.overlay(view, np.array([[1.0, -1.0], [0.0, 0.0]])).astype(int)
    red, blue, none = found[0, 0], found[1, 3], found[3, 0]
    assert red[0] - red[2] > 100
    assert blue[2] - blue[0] > 100
    assert none.max() == none.min()


def test_the_spotlight_is_brightest_at_the_largest_share():
    found = pictures.spotlight(np.zeros((4, 4, 3), np.uint8), np.array([[0.1, 0.6], [0.2, 0.1]]))
    light = found.mean(axis=-1)
    assert light[0, 3] == light.max()
    assert light[0, 0] < light[3, 0] < light[0, 3]


def test_curves_of_a_model_its_ema_and_chance_share_a_color():
    steps = [1, 2]
    series = {"object": (steps, [0.1, 0.2]), "object (EMA)": (steps, [0.1, 0.3])}
    series |= {"object (chance)": (steps, [0.05, 0.05]), "all": (steps, [0.4, 0.4])}
    figure = pictures.curves(series, colors=pictures.COLORS, steps=2, percent=True)
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", ":", "-"]
    assert len({line.get_color() for line in lines[:3]}) == 1
    assert lines[3].get_color() != lines[0].get_color()
    assert lines[1].get_ydata().tolist() == [10, 30]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["all"]  # that of the levels is the page's


def test_curves_of_one_validation_stand_in_the_whole_run():
    series = {"object": ([200], [0.2]), "object" + pictures.CHANCE: ([200], [0.05])}
    figure = pictures.curves(series, colors={}, steps=200, percent=True)
    (axis,) = figure.axes
    left, right = axis.get_xlim()
    assert -10 < left <= 0
    assert 200 <= right < 210
    chance = axis.lines[1]
    assert (list(chance.get_xdata()), list(chance.get_ydata())) == ([0, 200], [5, 5])


def test_bars_show_the_best_and_the_worst_classes_best_first():
    # The most frequent class first, as suites give them; beyond the thirtieth they are left out.
    values = {f"c{i}": (((7 * i) % 30) / 30, 99 - i) for i in range(30)} | {"rare": (1.0, 1)}
    names = charts.shown_classes(values)
    shares = [values[name][0] for name in names]
    assert shares == sorted(shares, reverse=True)
    assert len(names) == 20
    assert [round(30 * share) for share in shares] == [*range(29, 19, -1), *range(9, -1, -1)]
    (axis,) = charts.bars({"student": values}).axes
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], np.multiply(shares, 100))
    assert axis.get_xlim() == (0, 100)
    few = {"a": (0.01, 3), "b": (0.02, 2)}
    (axis,) = charts.bars({"student": few}).axes
    assert axis.get_xlim() == (0, 100)  # of small shares, too
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["b (2)", "a (3)"]


def test_confusions_are_percents_of_a_row_with_the_diagonal_outlined():
    (axis,) = charts.confusion(Confusion(["a", "b"], np.array([[3, 1], [0, 5]]))).axes
    told = {text.get_position(): text.get_text() for text in axis.texts}  # column, row
    assert told == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    frames = [each.get_xy() for each in axis.patches if not each.get_fill()]
    assert frames == [(-0.5, -0.5), (0.5, 0.5)]
    shades = [each.get_alpha() for each in axis.patches if each.get_fill()]
    np.testing.assert_allclose(shades, 0.85 * np.array([0.75, 0.25, 0, 1]))
