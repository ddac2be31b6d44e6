"""What a compiled program's text says of one step: its instructions, the bytes they move, what devices send."""

import math
import re
from collections import Counter

COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id"}
_BITS = {"pred": 8, "bf16": 16, "f16": 16}
_SLICES = ("dynamic-slice", "slice", "gather")
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


_INSTRUCTION = re.compile(r"%?([\w.-]+) = (\(.*?\)|\S+) ([a-z][\w-]*)\(")


def _parts(line: str) -> tuple[str, str, str]:
    """(name, type of the result, operation) of an instruction."""
    match = _INSTRUCTION.match(line)
    return (match[1], match[2], match[3]) if match else ("", "", "?")


def opcode(line: str) -> str:
    """The name of an instruction's operation."""
    return _parts(line)[2]


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
    place, the change. Left out are arrays kept on the chip (TPU: S(1)) and the scratch memory that is the second result
    of a library's product. A TPU fetches an array ahead of its use in pieces, each a slice of its bytes: the dimensions
    of a piece are those of the array.
    """
    blocks = computations(text)
    types = {name: result for block in blocks.values() for name, result, _ in map(_parts, block)}
    bitcasts = dict(re.findall(r"%([\w.-]+) = \S+ bitcast\(%([\w.-]+)\)", text))
    moved = []
    for line in lines:
        _, result, code = _parts(line)
        if code.endswith("-done") or code in ("while", "conditional"):
            continue
        inside = re.search(rf" {code}\((.*?)\)(?:, |$)", line)
        operands = re.findall(r"%([\w.-]+)", inside[1]) if inside else []
        if code == "slice-start":
            source, piece, *_ = arrays(result)
            shape = arrays(types.get(bitcasts.get(operands[0], operands[0]), ""))[0][1]
            moved += [(piece[0], shape, source[2]), (piece[0], shape, piece[2])]
            continue
        called = re.search(r"calls=%?([\w.-]+)", line)
        inner = blocks.get(called[1], []) if called else []
        parameters = {re.search(r"parameter\((\d+)\)", x)[1]: _parts(x)[0] for x in inner if " parameter(" in x}  # type: ignore[index]
        for number, name in enumerate(operands):
            taken = _taken(inner, parameters.get(str(number), "")) if inner else None
            if code in _SLICES and number == 0:
                taken = arrays(result)
            kind = types.get(name, "")
            moved += arrays("" if kind.startswith("(") else kind) if taken is None else taken
        moved += arrays(result)[:1] if code.endswith("-start") or code == "custom-call" else arrays(result)
    return [(size, shape) for size, shape, main in moved if main]


def _taken(inner: list[str], name: str) -> list[tuple[float, tuple[int, ...], bool]] | None:
    """What a fusion's instructions take of its parameter `name`, if all of them only slice or gather it."""
    users = [line for line in inner if re.search(rf"[(, ]%{re.escape(name)}[,)]", line.partition(" = ")[2])]
    if not name or not users or not all(opcode(line) in _SLICES for line in users):
        return None
    return [array for line in users for array in arrays(_parts(line)[1])]
