"""What a compiled program's text says of one step: its instructions, the bytes they move, what devices send."""

import math
import re
from collections import Counter

COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id"}
_BITS = {"pred": 8, "bf16": 16, "f16": 16}
_ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+)\[([\d,]*)\](\{[^}]*\})?")


def computations(text: str) -> dict[str, list[str]]:
    """The lines of each computation of a module, by its name."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        if match := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            lines = found[match[1]] = []
        elif line.startswith("}"):
            lines = None
        elif lines is not None and " = " in line:
            lines.append(re.sub(r"/\*.*?\*/", "", line.strip().removeprefix("ROOT ")))
    return found


def opcode(line: str) -> str:
    """The name of an instruction's operation."""
    match = re.search(r" = (?:\(.*?\)|\S+) ([a-z][\w-]*)\(", line)
    return match[1] if match else "?"


def bodies(text: str) -> list[list[str]]:
    """The instructions of every loop's body, with those of the calls in it (command buffers), without what is free."""
    blocks = computations(text)

    def flat(name: str) -> list[str]:
        lines = []
        for line in blocks.get(name, ()):
            called = re.search(r"(?:to_apply|calls)=%?([\w.-]+)", line)
            if opcode(line) == "call" and called:
                lines += flat(called[1])
            elif opcode(line) not in _FREE:
                lines.append(line)
        return lines

    return [flat(name) for name in dict.fromkeys(re.findall(r"body=%?([\w.-]+)", text))]


def body(text: str) -> list[str]:
    """The instructions of one turn of the largest loop: a step of training, or a batch of an evaluation."""
    return max(bodies(text), key=len, default=[])


def trips(text: str) -> int:
    """How often the largest loop turns, where the compiler knows; else 1, as its cost analysis then counts it once."""
    known = [
        (len(flat), int(count[1]))
        for flat, line in zip(bodies(text), [x for x in text.splitlines() if " while(" in x], strict=False)
        if (count := re.search(r'"known_trip_count":\{"n":"(\d+)"', line))
    ]
    return max(known, default=(0, 1))[1]


def collectives(lines: list[str]) -> Counter[str]:
    """How often devices talk in these instructions, by kind; the start of an asynchronous one counts, its end not."""
    return Counter(re.findall(rf" ({COLLECTIVES})(?:-start)?\(", "\n".join(lines)))


def arrays(text: str) -> list[tuple[float, tuple[int, ...], bool]]:
    """(bytes, dimensions, whether in the device's main memory) of the arrays that a piece of a line names."""
    found = []
    for kind, dims, layout in _ARRAY.findall(text):
        shape = tuple(int(n) for n in dims.split(",") if n)
        bits = _BITS.get(kind) or int(kind[1:])
        found.append((math.prod(shape) * bits / 8, shape, "S(" not in layout))
    return found


def traffic(text: str, lines: list[str]) -> list[tuple[float, tuple[int, ...]]]:
    """(bytes, dimensions) of every array in the main memory that these instructions read or write.

    Of an array from which an instruction only takes slices or rows, what it takes counts; of one that it changes in
    place, the change. Arrays kept on the chip (TPU: S(1)) are left out.
    """
    blocks = computations(text)
    shapes = {}
    for block in blocks.values():
        for line in block:
            name, _, rest = line.partition(" = ")
            shapes[name.lstrip("%")] = rest
    moved = []
    for line in lines:
        code = opcode(line)
        if code.endswith("-done") or code in ("while", "conditional"):
            continue
        result = line.partition(" = ")[2].partition(f" {code}(")[0]
        inside = re.search(rf" {code}\((.*?)\)(?:, |$)", line)
        operands = re.findall(r"%([\w.-]+)", inside[1]) if inside else []
        called = re.search(r"calls=%?([\w.-]+)", line)
        inner = blocks.get(called[1], []) if called else []
        written = arrays(result)[:1] if code.endswith("-start") else arrays(result)
        for number, name in enumerate(operands):
            source = shapes.get(name, "").partition("(")[0] if not shapes.get(name, "").startswith("(") else ""
            taken = (
                _taken(inner, number)
                if inner
                else _taken([line], name)
                if "slice" in code or code == "gather"
                else None
            )
            moved += [(size, shape) for size, shape, main in (arrays(source) if taken is None else taken) if main]
        moved += [(size, shape) for size, shape, main in written if main]
    return moved


def _taken(inner: list[str], operand: int | str) -> list[tuple[float, tuple[int, ...], bool]] | None:
    """What a fusion's instructions take of operand number `operand`, if all of them only slice or gather it."""
    name = operand
    if isinstance(operand, int):
        mine = [line for line in inner if f" parameter({operand})" in line]
        if not mine:
            return None
        name = mine[0].partition(" = ")[0].lstrip("%")
    users = [line for line in inner if re.search(rf"[(, ]%{re.escape(str(name))}[,)]", line.partition(" = ")[2])]
    if not users or not all(opcode(line) in ("dynamic-slice", "slice", "gather") for line in users):
        return None
    return [array for line in users for array in arrays(line.partition(" = ")[2].partition("(")[0])]
