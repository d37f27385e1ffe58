"""Formats a plan (see `aot.plan`) as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from scenarioclip_jax.costs.chips import GIB
from scenarioclip_jax.costs.roofline import ASSUMPTIONS

MEMORY = (
    ("parameters", "trained, frozen and the teacher's"),
    ("optimizer", "two moments of every trained parameter"),
    ("batch", "photos, boxes, regions, tokens"),
    ("activations", "and gradients: what lives during a step"),
    ("results", "that don't take an argument's place"),
    ("program", "its code"),
)


def as_text(report: Mapping[str, Any]) -> str:
    """Formats all figures, then the verdict."""
    blocks = [_head(report), _memory(report)]
    if "flops" in report:
        blocks += [_work(report), _bound(report)]
    if "largest" in report:
        blocks.append(_largest(report))
    blocks.append(_verdict(report))
    return "\n\n".join("\n".join(block) for block in blocks)


def _head(report) -> Iterator[str]:
    mesh = " x ".join(f"{name}={size}" for name, size in report["mesh"].items())
    yield (
        f"{report['preset']} on {report['topology']}: {report['devices']} {report['chip']} chips, mesh {mesh}"
    )
    parts = report["settings"]["loss.accumulate"]
    here = report["scenes_per_device"]
    yield (
        f"batch of {report['global_batch']:,} scenes in {report['groups']:,} groups: {here:,} a chip"
        + (f", {here // parts:,} at a time" if parts > 1 else "")
    )
    yield ", ".join(f"{key}={value}" for key, value in report["settings"].items())
    if report["changed"]:
        needed = " ".join(f"--config.{key}={value}" for key, value in report["changed"].items())
        yield f"the real run needs: {needed}"
    least = ", with the compiler's least effort" if report["quick"] else ""
    versions = f"JAX {report['jax']} and libtpu {report['libtpu']}"
    yield f"compiled in {report['compile_seconds']:.0f} s with {versions}{least}"


def _memory(report) -> Iterator[str]:
    yield "memory of a chip, GiB"
    found = report["memory"]
    for name, what in MEMORY:
        if name in found:
            yield f"  {name:<12}{found[name] / GIB:>8.2f}  {what}"
    if "arguments" in found:
        held = sum(found[name] for name in ("parameters", "optimizer", "batch"))
        yield f"  {'padding':<12}{(found['arguments'] - held) / GIB:>8.2f}  of parameters, optimizer and batch"
    yield (
        f"  {'total':<12}{report['needed'] / GIB:>8.2f}  of {report['limit'] / GIB:.2f} that the compiler "
        "lets a program have; the runtime reserves the rest of the chip's"
    )


def _work(report) -> Iterator[str]:
    flops = report["flops"]
    yield "work of a step, all chips"
    yield f"  {'model':<12}{flops['model'] / 1e12:>12,.1f} TFLOP, counted from shapes"
    yield f"  {'executed':<12}{flops['hardware'] / 1e12:>12,.1f} TFLOP, with what is computed again"
    for name, count in flops["by_part"].items():
        yield f"    {name:<10}{count['model'] / 1e12:>12,.1f}, executed {count['hardware'] / 1e12:,.1f}"
    yield "collectives of a step, results on one chip"
    for kind, count in report["collectives"].items():
        yield f"  {kind:<20}{count['bytes'] / 1e6:>12,.1f} MB, {count['instructions']} instructions"
    if not report["collectives"]:
        yield "  none"


def _bound(report) -> Iterator[str]:
    bound = report["roofline"]
    yield "a step takes at least, seconds"
    for name in ("compute", "memory", "links"):
        mark = "  <- the limit" if bound["limit"] == name else ""
        yield f"  {name:<12}{bound[name]:>8.3f}{mark}"
    rate = report["global_batch"] / bound["seconds"]
    yield f"  so at most {rate:,.0f} scenes/s and {bound['mfu']:.0%} MFU, assuming that"
    for assumption in ASSUMPTIONS:
        yield f"  - {assumption}"
    (low, slow), (high, fast) = report["seconds_at_mfu"].items()
    few, many = (report["global_batch"] / seconds for seconds in (slow, fast))
    yield f"what to expect: published contrastive training reaches {float(low):.0%} to {float(high):.0%} MFU"
    if slow <= bound["seconds"]:
        yield "  which this step can't reach: expect less than the bound"
    else:
        yield f"  there a step takes {fast:.3f} to {slow:.3f} s: {few:,.0f} to {many:,.0f} scenes/s"


def _largest(report) -> Iterator[str]:
    found = report["largest"]
    tried = ", ".join(
        f"{n} {'fits' if each['fits'] else 'does not'} ({each['needed'] / GIB:.1f} GiB)"
        for n, each in found["tried"].items()
    )
    yield f"scenes a chip that were tried, in multiples of {found['unit']}: {tried}"


def _verdict(report) -> Iterator[str]:
    free = report["limit"] - report["needed"]
    if report["fits"]:
        yield f"It fits, with {free / GIB:.2f} GiB to spare."
        return
    yield f"It does not fit: {-free / GIB:.2f} GiB too much. What would help:"
    for advice in advices(report):
        yield f"  - {advice}"


def advices(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields changes that make it fit, cheapest first."""
    settings, found = report["settings"], report["memory"]
    held = found["parameters"] + found["optimizer"]
    if settings["model.dtype"] == "float32":
        yield "--config.model.dtype=bfloat16 halves activations"
    if not settings["model.share_stem"]:
        yield (
            "--config.model.share_stem=True keeps one frozen stem instead of one a level, and "
            "nothing of it for the backward pass"
        )
    if settings["model.remat"] != "full":
        better = "dots" if settings["model.remat"] == "none" else "full"
        yield f"--config.model.remat={better} computes parts of the forward pass twice instead of keeping them"
    parts, here = settings["loss.accumulate"], report["scenes_per_device"]
    if here > parts:
        yield (
            f"--config.loss.accumulate={min(here, parts * 4)} takes the batch through the towers in so many "
            "parts, for a second forward pass; the gradient stays the same"
        )
    if held > report["limit"] / 4 and report["mesh"]["fsdp"] < report["devices"]:
        yield (
            f"--config.mesh.fsdp={min(8, report['devices'])} splits parameters and optimizer, now "
            f"{held / GIB:.1f} GiB a chip, over so many chips"
        )
    if here > 1:
        yield f"--config.data.batch_size={report['global_batch'] // 2} or less"
    yield "a larger pod, or chips with more memory"
