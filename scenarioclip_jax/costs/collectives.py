"""What a compiled program communicates, read from its HLO text."""

import math
import re
from collections import defaultdict
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}


class Collective(NamedTuple):
    """One instruction, as one device sees it."""

    kind: str
    shape: str  # of the result, as HLO writes it
    bytes: int  # of the result
    times: int  # executions in a run of the program; a loop's body counts once per iteration
    devices: int  # number of devices that take part together; 0 if the text doesn't say


def size(shape: str) -> int:
    """Bytes of a shape as HLO writes it: `f32[2,3]{1,0}`, or a tuple of these."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return sum(
        BYTES[kind] * math.prod(int(n) for n in dims.split(",") if n) for kind, dims in arrays
    )


def computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """The instructions of each computation, and the name of the entry computation."""
    found, current, entry = {}, None, None
    for line in hlo.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and " = " in line:
            current.append(line)
    if entry is None:
        raise ValueError("the text of the program has no computation marked ENTRY")
    return found, entry


def collectives(hlo: str) -> list[Collective]:
    """The collectives of a compiled program.

    Raises:
      ValueError: One is in a loop whose length the text doesn't give.
    """
    bodies, entry = computations(hlo)
    found = []

    def visit(name: str, times: int | None) -> None:
        for line in bodies[name]:
            match = re.search(r" = (\(.*?\)|\S+) ([\w\-]+)\(", line)
            shape, operation = match.groups() if match else ("", "")
            # An asynchronous one is two instructions: the first has the groups, the second the result's shape.
            kind = operation.removesuffix("-done")
            if kind in KINDS:
                if times is None:
                    raise ValueError(f"a {kind} stands in a loop of unknown length: {name}")
                found.append(
                    Collective(kind, shape, size(shape), times, _devices(line, bodies[name]))
                )
            elif operation == "while":
                turns = _turns(line, bodies)
                inner = times * turns if times and turns else None
                visit(_named(r"body=%?([\w.\-]+)", line), inner)
            else:
                for callee in _callees(line, operation):
                    visit(callee, times)

    visit(entry, 1)
    return found


def summary(hlo: str) -> dict[str, dict[str, int]]:
    """By kind: number of instructions, and bytes of their results on a device in a run of the program."""
    total = defaultdict(lambda: {"instructions": 0, "bytes": 0})
    for each in collectives(hlo):
        total[each.kind]["instructions"] += 1
        total[each.kind]["bytes"] += each.bytes * each.times
    return dict(sorted(total.items()))


def sent(collective: Collective, devices: int) -> float:
    """Bytes that a device sends for a collective in a run of the program, with rings (Thakur et al. 2005).

    Args:
      devices: Number of devices of the program, used if the collective doesn't name its groups.
    """
    n = collective.devices or devices
    share = (n - 1) / n
    factor = {
        "all-gather": share,
        "all-to-all": share,
        "all-reduce": 2 * share,
        "reduce-scatter": n - 1,  # the result is a part of the sum
        "collective-permute": 1,
    }[collective.kind]
    return collective.bytes * collective.times * factor


def _named(pattern: str, line: str) -> str:
    """What the group of `pattern` holds in an instruction of the kind that always has it."""
    match = re.search(pattern, line)
    if match is None:
        raise ValueError(f"an instruction doesn't match {pattern}: {line.strip()}")
    return match[1]


def _callees(line: str, operation: str) -> list[str]:
    """Computations that an instruction runs once, without those of reductions, which don't communicate."""
    if operation in ("call", "call-start"):  # TPU7x starts reductions on its SparseCores
        return re.findall(r"to_apply=%?([\w.\-]+)", line)
    if operation == "conditional":
        return re.findall(r"%([\w.\-]+)", _named(r"branch_computations=\{(.*?)\}", line))
    if operation in ("fusion", "async-start"):
        return re.findall(r"calls=%?([\w.\-]+)", line)
    return []


def _turns(line: str, bodies: dict[str, list[str]]) -> int | None:
    """The number of iterations of a loop: from the CPU compiler's note, or from a condition `i < constant`.

    Loops of known length count from 0: JAX's in steps of 1, and those by which the TPU compiler gathers a
    matrix while it multiplies in steps of 1 or 2.
    """
    if noted := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(noted[1])
    condition = bodies[_named(r"condition=%?([\w.\-]+)", line)]
    (root,) = [each for each in condition if each.lstrip().startswith("ROOT ")]
    less = re.search(r" compare\((.*?)\), direction=LT", root)
    limit = re.findall(r"[\w.\-]+", less[1].split("%")[-1]) if less else None
    for each in condition:
        constant = re.search(r"%?([\w.\-]+) = [su]32\[\]\S* constant\((\d+)\)", each)
        if less and limit and constant and constant[1] == limit[0]:
            step = _step(condition, less[1], bodies[_named(r"body=%?([\w.\-]+)", line)])
            return -(-int(constant[2]) // step)
    return None


def _step(condition: list[str], compared: str, body: list[str]) -> int:
    """What a loop adds to the number that its condition compares; 1 if the text doesn't say."""
    counter = re.findall(r"[\w.\-]+", compared.split("%")[1] if "%" in compared else compared)[0]
    element = re.compile(rf"%?{re.escape(counter)} = .* get-tuple-element\(.*index=(\d+)")
    index = next((int(found[1]) for each in condition if (found := element.search(each))), None)
    results = next((e for e in body if e.lstrip().startswith("ROOT ") and " tuple(" in e), None)
    if index is None or results is None:
        return 1
    values = re.sub(r"/\*.*?\*/", "", results.split(" tuple(")[1]).split(")")[0].split(",")
    name = values[index].split("%")[-1].strip()
    added = next((e for e in body if re.match(rf"\s*%?{re.escape(name)} = \S+ add\(", e)), "")
    operands = re.findall(r"[\w.\-]+", added.split(" add(")[-1].split(")")[0])
    for each in body:
        constant = re.match(r"\s*%?([\w.\-]+) = [su]32\[\]\S* constant\((\d+)\)", each)
        if constant and constant[1] in operands:
            return int(constant[2])
    return 1


def _devices(line: str, body: list[str]) -> int:
    """Devices in a replica group, written as a list of lists, as `[groups,devices]<=[…]`, or as mesh axes."""
    if "-done(" in line:
        started = _named(r"-done\(.*?%?([\w.\-]+)\)", line)
        line = next((each for each in body if re.match(rf"\s*%?{re.escape(started)} =", each)), "")
    if axes := re.search(r"replica_groups=mesh\[(.*?)\] ?\{(.*?)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", axes[2]))
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(iota[1])
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return len(listed[1].split(","))
    return 0
