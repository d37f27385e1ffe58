"""Comparisons of evaluations: known answers for means, intervals and ranks, and what can't be compared."""

import csv
import json
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from scenarioclip_jax.evaluation.compare import command, differences
from scenarioclip_jax.evaluation.compare.read import CompareError, read_run, read_system
from scenarioclip_jax.evaluation.compare.table import compare
from scenarioclip_jax.evaluation.compare.write import as_csv, latex, markdown
from scenarioclip_jax.evaluation.samples import FILE, read_samples, write_samples
from scenarioclip_jax.evaluation.score.result import Metric, Result


def write_run(folder, hits, *, column="student", suite="winoground", **changes):
    """An evaluation with two metrics of one suite; `hits` are those of the first one's records."""
    metric = Metric(np.array(hits, float), chance=0.25)
    ranks = Metric(np.array([3.0, 5.0, 4.0]), statistic="median")
    metrics = {"text": metric, "median_rank": ranks}
    entry = {
        "level": "global",
        "metrics": {
            name: {
                "value": each.value,
                "interval": list(each.interval(0)),
                "chance": each.chance,
                "samples": len(each.samples),
                "unit": "rank" if each.statistic == "median" else "share",
            }
            for name, each in metrics.items()
        },
        "ties": {"records": 1},
        "texts": {"cut": 2},
    }
    summary = {
        "models": {column: {}},
        "prompt": "{}",
        "config": {"data": {"scenes": 0}},
        "suites": {
            suite: {
                "protocol": "All strict.",
                "files": [{"path": "/data/examples.jsonl", "sha256": "ab" * 32}],
                "columns": {column: entry},
            }
        },
    }
    summary["suites"][suite] |= {k: v for k, v in changes.items() if k in ("protocol", "files")}
    summary |= {k: v for k, v in changes.items() if k in ("prompt", "config")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(summary))
    write_samples(folder / FILE, {suite: {column: Result(metrics, {}, "global", "")}})
    return folder


def systems(*given):
    return [read_system(each) for each in given]


def test_of_seeds_it_gives_mean_and_student_t_interval(tmp_path):
    for seed, hits in enumerate(([1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1])):
        write_run(tmp_path / f"a{seed}", hits)
        write_run(tmp_path / f"b{seed}", [0, *hits[1:]])
    a, b = (",".join(f"{tmp_path}/{name}{seed}" for seed in range(3)) for name in "ab")
    found = compare(systems(f"a={a}", f"b={b}"), reference="a")
    ours, theirs = found.rows[0].cells
    assert ours.score.value == pytest.approx(0.75)
    # Deviation 0.25, three runs, Student's t at 0.975 with two degrees of freedom: 4.302653.
    assert ours.score.high - ours.score.value == pytest.approx(4.302653 * 0.25 / 3**0.5)
    assert (ours.score.over, ours.difference) == ("seeds", None)
    # The same record is wrong in every run of the other, so the paired difference is certain.
    assert theirs.difference == (pytest.approx(-0.25),) * 3 + ("seeds",)
    assert (ours.rank, theirs.rank) == (1, 2)
    assert (ours.ties, ours.cut_texts) == (3, 6)


def test_single_runs_are_compared_photo_by_photo(tmp_path):
    draw = np.random.default_rng(0)
    hits = draw.random(400) < 0.5
    better = hits | (np.arange(400) % 20 == 0)
    write_run(tmp_path / "a", hits)
    write_run(tmp_path / "b", better)
    found = compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="a")
    gap = found.rows[0].cells[1].difference
    assert gap.value == pytest.approx(better.mean() - hits.mean())
    assert gap.over == "photos"
    assert 0 < gap.low < gap.value < gap.high
    # Alone, each has an interval of ±5 points. In pairs, the records on which both agree cancel out.
    spread = np.std(better.astype(float) - hits) / 400**0.5
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_clusters_are_resampled_whole_and_macro_averages_stay_macro(tmp_path):
    groups, clusters = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1])
    one = Metric(np.array([1.0, 1, 1, 0]), groups, clusters)
    other = Metric(np.array([0.0, 0, 0, 0]), groups, clusters)
    gap = differences.paired_by_photo(one, other, 0, 500)
    assert gap.value == 0.5
    assert set(np.round(one.resamples(0, 500), 6)) == {0.0, 0.5, 1.0}
    assert (gap.low, gap.high) == (0.0, 1.0)


def test_welch_is_what_two_independent_samples_give():
    a, b = [0.5, 0.6, 0.7, 0.65], [0.4, 0.42]
    gap = differences.unpaired(a, b)
    # scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert gap.value == pytest.approx(0.2025)
    assert (gap.low, gap.high) == (pytest.approx(0.0700227), pytest.approx(0.3349773))
    assert differences.unpaired([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5, 0.5, "seeds")


def test_ranks_share_ties_and_know_which_way_is_better():
    assert differences.ranks([0.1, None, 0.3, 0.3]) == [3, None, 1.5, 1.5]
    assert differences.ranks([10, 2, 5], smaller_is_better=True) == [3, 1, 2]
    assert differences.ranks([None]) == [None]


def test_median_ranks_are_better_when_smaller(tmp_path):
    write_run(tmp_path / "a", [1, 0])
    other = write_run(tmp_path / "b", [1, 0])
    text = json.loads((other / "results.json").read_text())
    text["suites"]["winoground"]["columns"]["student"]["metrics"]["median_rank"]["value"] = 2.0
    (other / "results.json").write_text(json.dumps(text))
    found = compare(systems(f"a={tmp_path}/a", f"b={other}"), reference="a", metrics=["winoground"])
    (row,) = [row for row in found.rows if row.key[1] == "median_rank"]
    assert [cell.rank for cell in row.cells] == [2, 1]
    assert found.mean_ranks() == [(1.5 + 2) / 2, (1.5 + 1) / 2]


def test_a_system_without_a_metric_has_no_cell_and_others_keep_theirs(tmp_path):
    write_run(tmp_path / "a", [1, 0])
    write_run(tmp_path / "b", [1, 1], suite="vsr")
    found = compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="a", metrics=["w"])
    assert [cell is None for cell in found.rows[0].cells] == [False, True]
    assert found.mean_ranks() == [None, None]
    assert "| - |" in markdown(found)
    assert " & -- " in latex(found)


def test_without_kept_samples_there_is_a_difference_without_an_interval(tmp_path):
    for name in "ab":
        (write_run(tmp_path / name, [1, 0]) / FILE).unlink()
    found = compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="b")
    assert found.rows[0].cells[0].difference == (0.0, None, None, "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": "Another."}, "differ in protocol"),
        ({"files": [{"path": "examples.jsonl", "sha256": "cd" * 32}]}, "differ in files"),
        ({"prompt": "a photo of {}"}, "differ in prompt"),
        (
            {"config": {"data": {"scenes": 0}, "text_length": "longest"}},
            r"differ in text_length \('trained' and 'longest'\)",
        ),
        ({"config": {"data": {"scenes": 9}}}, "differ in scenes"),
    ],
)
def test_what_was_scored_otherwise_is_refused(tmp_path, changes, told):
    write_run(tmp_path / "a", [1, 0])
    write_run(tmp_path / "b", [1, 0], **changes)
    with pytest.raises(CompareError, match=f"winoground: .*a:student and .*b:student {told}"):
        compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="a")


def test_different_numbers_of_records_are_refused(tmp_path):
    write_run(tmp_path / "a", [1, 0])
    write_run(tmp_path / "b", [1, 0, 1])
    both = systems(f"a={tmp_path}/a", f"b={tmp_path}/b")
    with pytest.raises(CompareError, match=r"winoground/text: .*a:student has 2 samples and .* 3,"):
        compare(both, reference="a")


def test_the_only_system_is_not_called_the_best(tmp_path):
    found = compare(systems(f"a={write_run(tmp_path / 'a', [1, 0])}"), reference="a")
    assert "textbf" not in latex(found)
    assert "**" not in markdown(found)


def test_the_same_file_elsewhere_is_the_same(tmp_path):
    write_run(tmp_path / "a", [1, 0])
    write_run(tmp_path / "b", [1, 0], files=[{"path": "/x/examples.jsonl", "sha256": "ab" * 32}])
    assert compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="a").rows


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x={}/none", "no results.json"),
        ("x=", "names no folder"),
        ("x={}/a:ema", "no column 'ema'; it has student"),
        ("x={}/broken", "can't be read"),
        ("x={}/half", r"samples\.npz can't be read"),
        ("x={}/empty", r"samples\.npz can't be read"),
        ("x={}/bare", "has no model"),
        ("x={0}/a,{0}/b/../a", "a:student twice; one run is one seed"),
    ],
)
def test_what_is_no_evaluation_is_refused_with_the_remedy(tmp_path, given, told):
    write_run(tmp_path / "a", [1, 0])
    (write_run(tmp_path / "half", [1, 0]) / FILE).write_bytes(b"PK no zip")
    (write_run(tmp_path / "empty", [1, 0]) / FILE).write_bytes(b"")
    bare = write_run(tmp_path / "bare", [1, 0]) / "results.json"
    bare.write_text(json.dumps(json.loads(bare.read_text()) | {"models": {}}))
    (tmp_path / "b").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text('{"models": ')
    with pytest.raises(CompareError, match=told):
        read_system(given.format(tmp_path))


def test_names_have_to_tell_systems_apart(tmp_path):
    write_run(tmp_path / "a", [1, 0])
    twice = systems(f"{tmp_path}/a", f"a={tmp_path}/a")
    with pytest.raises(CompareError, match="two systems have one name"):
        compare(twice, reference="a")
    with pytest.raises(CompareError, match=r"--reference c: no such system; there are a"):
        compare(twice[:1], reference="c")
    with pytest.raises(CompareError, match=r"--metric aro: no metric begins like that.*winoground"):
        compare(twice[:1], reference="a", metrics=["aro"])


def test_samples_come_back_as_they_were(tmp_path):
    metric = Metric(
        np.array([0.0, 1, 1]), np.array(["x", "y", "x"]), np.array([5, 5, 7]), all_groups=4
    )
    write_samples(tmp_path / FILE, {"aro/coco": {"ema": Result({"a/b|c": metric}, {}, "", "")}})
    ((key, found),) = read_samples(tmp_path / FILE).items()
    assert key == ("aro/coco", "ema", "a/b|c")
    assert found.value == metric.value
    np.testing.assert_array_equal(found.resamples(3), metric.resamples(3))


def test_a_hundred_thousand_photos_keep_their_places(tmp_path):
    many = np.arange(100_000)
    metric = Metric((many % 3 == 0).astype(float), None, many // 2)
    write_samples(tmp_path / FILE, {"aro": {"ema": Result({"a": metric}, {}, "", "")}})
    (found,) = read_samples(tmp_path / FILE).values()
    np.testing.assert_array_equal(found.clusters, many // 2)


def test_the_command_writes_all_tables(tmp_path, capsys):
    write_run(tmp_path / "a", [1, 0, 0, 0])
    write_run(tmp_path / "b", [1, 1, 1, 0])
    odd = "50% & more_|_x"
    command.main([f"a={tmp_path}/a", f"{odd}={tmp_path}/b", f"--output={tmp_path / 'out'}"])
    out = tmp_path / "out"
    table = (out / "table.md").read_text()
    assert r"| | a | 50% & more_\|_x | chance |" in table
    assert "**75.0 ± " in table
    assert "SHA-256 abababababab…" in table
    assert "1 ties, 2 texts cut" in table
    tex = (out / "table.tex").read_text()
    assert r"50\% \& more\_|\_x" in tex
    assert tex.count(r"\textbf{75.0") == 1
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert {(row["system"], row["metric"], float(row["value"])) for row in rows} == {
        ("a", "text", 0.25),
        (odd, "text", 0.75),
    }
    assert all("sha256:" + "ab" * 32 in row["files"] for row in rows)
    assert json.loads((out / "compare.json").read_text())["systems"][odd] == [
        f"{tmp_path}/b:student"
    ]
    figure = (out / "figure.svg").read_text()
    xml.etree.ElementTree.fromstring(figure)
    assert "tables: " in capsys.readouterr().out


def test_errors_of_the_command_are_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*no results\.json"):
        command.main([f"a={tmp_path}", f"--output={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_colon_is_a_folder(tmp_path):
    write_run(tmp_path / "a:b", [1, 0])
    assert read_run(f"{tmp_path}/a:b").column == "student"
    assert re.fullmatch(r".*a:b:student", read_run(f"{tmp_path}/a:b:student").name)


def test_equal_comparisons_are_equal_files(tmp_path):
    write_run(tmp_path / "a", [1, 0, 1, 0])
    write_run(tmp_path / "b", [1, 1, 1, 0])
    once, again = (
        compare(systems(f"a={tmp_path}/a", f"b={tmp_path}/b"), reference="a") for _ in range(2)
    )
    assert as_csv(once) == as_csv(again)
