"""What a check says of one item: right, wrong by how much and where, and which known mistake it is."""

import textwrap
from collections.abc import Iterable
from typing import NamedTuple

RIGHT, WRONG, UNSURE, FAILED = VERDICTS = ("right", "wrong", "unsure", "failed")


class Finding(NamedTuple):
    """One item of a submission that was checked.

    `verdict` is right, wrong, unsure (its convention is ambiguous; `note` says what `CHECK = {…}` has to name) or
    failed (it raised, hung or is of another shape; `note` says so in one line).
    """

    item: str  # what was checked: forward, gradients of cross_entropy, adam, xavier, …
    verdict: str
    where: str = ""  # layer 2, W; from update 1; …
    error: float | None = None  # the largest relative error that was found
    expected: str = ""  # our number, where one tells something
    found: str = ""  # theirs
    mistakes: tuple[str, ...] = ()  # names in `mistakes.MISTAKES`; two where both together give their numbers
    note: str = ""  # one line: the convention found, the pattern of an unknown mistake, why it failed
    equation: str = (
        ""  # a heading of docs/backpropagation.md, docs/optimizers.md or docs/mathematics.md, as page#anchor
    )


class Findings(list[Finding]):
    """Findings that print as a table."""

    def __str__(self) -> str:
        return as_table(self)

    __repr__ = __str__


def as_table(findings: Iterable[Finding], width: int = 100) -> str:
    """A row a finding: item, verdict, relative error, where; below it the mistake's name and the note."""
    rows = [("item", "verdict", "error", "where")]
    below: list[list[str]] = [[]]
    for finding in findings:
        error = "" if finding.error is None else f"{finding.error:.1e}"
        rows.append((finding.item, finding.verdict, error, finding.where))
        said = [f"known mistake: {' and '.join(finding.mistakes)}"] if finding.mistakes else []
        numbers = [f"expected {finding.expected}"] * bool(finding.expected) + [f"found {finding.found}"] * bool(
            finding.found
        )
        said += [", ".join(numbers)] if numbers else []
        below.append(said + ([finding.note] if finding.note else []))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row, said in zip(rows, below, strict=True):
        lines.append("  ".join([*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), row[3]]).rstrip())
        for text in said:
            lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when all is right, 1 when something is wrong or failed, 2 when nothing could be checked."""
    verdicts = {finding.verdict for finding in findings}
    if verdicts & {WRONG, FAILED}:
        return 1
    return 0 if RIGHT in verdicts else 2
