"""Writes a comparison as Markdown, LaTeX, CSV, JSON and a figure."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from scenarioclip_jax.evaluation.compare.differences import Estimate
from scenarioclip_jax.evaluation.compare.figure import figure
from scenarioclip_jax.evaluation.compare.table import Cell, Comparison, Row
from scenarioclip_jax.evaluation.report.tables import share
from scenarioclip_jax.files import write_text

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def write(found: Comparison, folder: Path) -> None:
    """Writes `table.md`, `table.tex`, `table.csv`, `compare.json` and `figure.svg` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", markdown(found))
    write_text(folder / "table.tex", latex(found))
    write_text(folder / "table.csv", as_csv(found))
    write_text(folder / "compare.json", json.dumps(as_json(found), indent=2) + "\n")
    write_text(folder / "figure.svg", figure(found))


def markdown(found: Comparison) -> str:
    """The table, and below it what each number is."""
    names = [_cell_text(system.name) for system in found.systems]
    lines = [f"| | {' | '.join(names)} | chance |", f"| --- |{' --- |' * (len(names) + 1)}"]
    for row in found.rows:
        cells = [_markdown_cell(row, cell) for cell in row.cells]
        lines.append(f"| {_cell_text(row.title)} | {' | '.join(cells)} | {_chance(row)} |")
    means = ["-" if rank is None else f"{rank:.2f}" for rank in found.mean_ranks()]
    lines.append(f"| mean rank | {' | '.join(means)} | |")
    return "\n".join([*lines, "", *notes(found)]) + "\n"


def _is_best(row: Row, cell: Cell) -> bool:
    """Whether a system is better than all others; where there are others."""
    return cell.rank == 1 and sum(each is not None for each in row.cells) > 1


def _markdown_cell(row: Row, cell: Cell | None) -> str:
    if cell is None:
        return "-"
    best = "**" if _is_best(row, cell) else ""
    text = f"{best}{number(cell.score, row.unit)}{best}"
    if cell.difference is not None:
        text += f" ({number(cell.difference, row.unit, signed=True)})"
    return text


def _cell_text(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def latex(found: Comparison) -> str:
    """The same for LaTeX with the package `booktabs`; the notes are comments."""
    names = [_latex(system.name) for system in found.systems]
    head = [rf"\begin{{tabular}}{{l{'r' * len(names)}}}", r"\toprule"]
    head += [f" & {' & '.join(names)} \\\\", r"\midrule"]
    lines = []
    for row in found.rows:
        cells = [_latex_cell(row, cell) for cell in row.cells]
        lines.append(f"{_latex(row.title)} & {' & '.join(cells)} \\\\")
    means = ["--" if rank is None else f"{rank:.2f}" for rank in found.mean_ranks()]
    tail = [r"\midrule", f"mean rank & {' & '.join(means)} \\\\", r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*(f"% {line}" for line in notes(found)), *head, *lines, *tail]) + "\n"


def _latex_cell(row: Row, cell: Cell | None) -> str:
    if cell is None:
        return "--"
    text = _latex(number(cell.score, row.unit).replace(" ± ", "±")).replace("±", r"\,$\pm$\,")
    return rf"\textbf{{{text}}}" if _is_best(row, cell) else text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def as_csv(found: Comparison) -> str:
    """A line for each metric and system, with all that is known of it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["section", "metric", "system", "runs", "value", "low", "high", "interval_over"]
    head += ["difference", "difference_low", "difference_high", "difference_over", "rank", "unit"]
    head += ["chance", "ties", "cut_texts", "levels", "prompt", "files", "protocol"]
    writer.writerow(head)
    for row in found.rows:
        files = "; ".join(f"{name} sha256:{digest}" for name, digest in row.about["files"])
        about = [row.about["level"], row.about["prompt"], files, row.about["protocol"]]
        for system, cell in zip(found.systems, row.cells, strict=True):
            if cell is not None:
                end = [cell.rank, row.unit, row.chance, cell.ties, cell.cut_texts, *about]
                gap = cell.difference or ("", "", "", "")
                start = [*row.key, system.name, len(system.runs)]
                writer.writerow([*start, *cell.score, *gap, *end])
    return buffer.getvalue()


def as_json(found: Comparison) -> dict:
    """All of the comparison as JSON values."""
    return {
        "reference": found.reference,
        "systems": {each.name: [run.name for run in each.runs] for each in found.systems},
        "mean_rank": dict(
            zip((each.name for each in found.systems), found.mean_ranks(), strict=True)
        ),
        "rows": [
            {
                "section": row.key[0],
                "metric": row.key[1],
                "unit": row.unit,
                "chance": row.chance,
                **row.about,
                "systems": {
                    system.name: cell
                    and {
                        "score": cell.score._asdict(),
                        "difference": cell.difference and cell.difference._asdict(),
                        "rank": cell.rank,
                        "ties": cell.ties,
                        "cut_texts": cell.cut_texts,
                    }
                    for system, cell in zip(found.systems, row.cells, strict=True)
                },
            }
            for row in found.rows
        ],
    }


def number(found: Estimate, unit: str, *, signed: bool = False) -> str:
    """A number with half of its interval: shares in percent, ranks as they are."""
    factor = 1 if unit == "rank" else 100
    value = factor * found.value
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ± {factor * (found.high - found.low) / 2:.1f}"


def _chance(row: Row) -> str:
    return "" if row.chance is None else share(row.chance).removesuffix("%")


def notes(found: Comparison) -> list[str]:
    """What the numbers are, and for each suite its protocol, files, cut texts and ties."""
    runs = ", ".join(f"{each.name} {len(each.runs)}" for each in found.systems)
    lines = [
        "Shares in percent, with half of their 95% intervals: over the seeds of several runs, else over photos "
        f"or records. Runs: {runs}. In parentheses, the difference from {found.reference}, paired by seed or "
        "by photo. Mean ranks are over the metrics that all systems have.",
        "",
    ]
    by_section: dict[str, list[Row]] = {}
    for row in found.rows:
        by_section.setdefault(row.key[0], []).append(row)
    for section, rows in by_section.items():
        about = rows[0].about
        files = "; ".join(f"{name} (SHA-256 {digest[:12]}…)" for name, digest in about["files"])
        lines.append(
            f"- {section}: {about['protocol']} Levels: {about['level']}. Prompt: {about['prompt']!r}. Data: "
            f"{files or 'not recorded'}. {_counts(found, rows)}"
        )
    return lines


def _counts(found: Comparison, rows: Sequence[Row]) -> str:
    """Ties and cut texts of each system; they belong to a section, so all of its rows have the same."""
    told = []
    for at, system in enumerate(found.systems):
        cell = next((row.cells[at] for row in rows if row.cells[at]), None)
        if cell is not None:
            told.append(f"{system.name} {cell.ties} ties, {cell.cut_texts} texts cut")
    return "; ".join(told) + "."
