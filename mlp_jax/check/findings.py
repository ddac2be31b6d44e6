"""What a check says of one item: right, wrong by how much and where, and which known mistake it is."""

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


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when all is right, 1 when something is wrong or failed, 2 when nothing could be checked."""
    verdicts = {finding.verdict for finding in findings}
    if verdicts & {WRONG, FAILED}:
        return 1
    return 0 if RIGHT in verdicts else 2
