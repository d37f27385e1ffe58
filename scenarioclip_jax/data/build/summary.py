"""The summary of a build as text for people."""

from collections import Counter
from pathlib import Path
from typing import Any

from scenarioclip_jax.data.build.problems import EFFECTS, NOTED


def format_summary(summary: dict[str, Any], folder: str | Path) -> str:
    """Returns the summary of a build as text for people."""

    def line(title: str, counts: dict[Any, int]) -> str:
        return f"  {title:<20}" + ", ".join(f"{value} {key}" for key, value in counts.items())

    def spread(title: str, counts: dict[int, int]) -> str:
        # A histogram as "mean (least to most)"
        pairs = Counter({int(number): scenes for number, scenes in counts.items()})
        mean = sum(number * scenes for number, scenes in pairs.items()) / pairs.total()
        return f"  {title:<20}{mean:.2f} on average, {min(pairs)} to {max(pairs)}"

    lines = [
        f"Built {folder}",
        line("scenes", summary["splits"]),
        *([line("scenes with", summary["texts"])] if _has_captions(summary) else []),
        line("classes", summary["classes"]),
        spread("objects a scene", summary["objects_per_scene"]),
        spread("relations a scene", summary["relations_per_scene"]),
        line("focused regions as", summary["focus"]),
        f"  {'negatives':<20}{summary['negatives']}",
        f"  {'scenes left out':<20}{summary['scenes_dropped']}",
    ]
    # (Data sets that were built before don't have these.)
    shared = summary.get("shared_photos", {"photos": 0, "scenes": 0})
    if shared["photos"]:
        listed = f"{folder}/shared_photos.json"
        lines.append(
            f"  {'shared photos':<20}{shared['photos']}, shown by {shared['scenes']} scenes; each is in one "
            f"split ({listed})"
        )
    if reencoded := summary.get("reencoded"):
        lines.append(line("stored as JPEG", reencoded))
    if styles := summary.get("focus_styles"):
        lines.append(line("images show", {f"{k} surroundings": n for k, n in styles.items()}))
    if unnamed := summary.get("focus_unnamed"):
        lines.append(f"  {'without image':<20}{unnamed} relations, made from their participants")
    return "\n".join(lines + _problem_lines(summary["problems"], folder))


def _has_captions(summary: dict) -> bool:
    texts = summary.get("texts", {})  # (data sets that were built before don't have these)
    return bool(texts.get("captions") or texts.get("neither"))


def _problem_lines(counts: dict[str, int], folder: str | Path) -> list[str]:
    """What was wrong, by what was done about it; what was only noted comes last."""
    by_effect = {
        effect: [(problem, n) for problem, n in counts.items() if problem.endswith(f" {effect}")]
        for effect in EFFECTS
    }
    noted = by_effect.pop(NOTED)
    lines = []
    if any(by_effect.values()):
        lines.append(f"  problems, listed in {folder}/problems.jsonl:")
        lines += [f"    {n:>6}  {problem}" for found in by_effect.values() for problem, n in found]
    else:
        lines.append("  no problems")
    if noted:
        where = "" if any(by_effect.values()) else f", listed in {folder}/problems.jsonl"
        lines.append(f"  noted, nothing is wrong{where}:")
        lines += [f"    {n:>6}  {problem.removesuffix(' ' + NOTED)}" for problem, n in noted]
    return lines
