"""Results as files: JSON, and docs/performance.md's tables between marks of that page, and its plot."""

import json
from pathlib import Path
from typing import Any

from benchmarks.reach import Result, table

# Between which lines of docs/performance.md the tables of each form stand.
BEGIN = {
    "short": "<!-- short form: written by python -m benchmarks --write -->",
    "long": "<!-- long form: written by python -m benchmarks --long --write -->",
}
END = "<!-- end -->"


def read(path: Path) -> Result:
    """The result in a file; {} where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, result: Result) -> None:
    """JSON, its parts and rows as measured, replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)


def contestants(result: Result) -> list[str]:
    """A Markdown table of every contestant at every batch size."""
    rows = ["| batch | | s an epoch | least … most | times ours | samples/s | GFLOP/s | of peak |", "|" + "---|" * 8]
    for part in (name for name in result if name.startswith("batch ")):
        for name, row in result[part].items():
            rows.append(_row(part.removeprefix("batch "), name, row))
    return rows


def _row(batch: str, name: str, row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return f"| {batch} | {name} | not measured: {row['absent']} | | | | | |"
    return (
        f"| {batch} | {name} | {row['seconds']:.3g} | {row['least']:.3g} … {row['most']:.3g} | {row['times_ours']:.2f} "
        f"| {row['samples_per_second']:,.0f} | {row['gflops']:.1f} | {row['share_of_peak']:.0%} |"
    )


def cells(result: Result) -> list[str]:
    """A Markdown table of the sweep over batch, width, depth, optimizer and precision."""
    if not result.get("scaling"):
        return []
    rows = ["| job | µs a sample | GFLOP/s | of peak | compile s |", "|" + "---|" * 5]
    for name, row in result["scaling"].items():
        rows.append(
            f"| {name} | {row['us_per_sample']:.2f} | {row['gflops']:.1f} | {row['share_of_peak']:.0%} "
            f"| {row['compile']:.2f} |"
        )
    return rows


def insert(page: Path, name: str, result: Result) -> None:
    """Puts the tables of the 'short' or the 'long' form into the page between its marks."""
    machine = result.get("machine", {})
    told = ", ".join(f"{key} {value}" for key, value in machine.items())
    lines = [f"Measured on: {told}."]
    for rows in (table(result), contestants(result), cells(result)):
        lines += ["", *rows] if len(rows) > 2 else []
    between(page, BEGIN[name], lines)


def between(page: Path, begin: str, lines: list[str]) -> None:
    """Puts the lines into the page between the mark `begin` and the next `END`."""
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{begin}\n\n" + "\n".join(lines).rstrip() + f"\n\n{END}{after}")


def plot(path: Path, result: Result) -> None:
    """Times as fast as each contestant, a bar each, by batch size."""
    from matplotlib.figure import Figure

    parts = [name for name in result if name.startswith("batch ")]
    figure = Figure(figsize=(8, 1.2 + 1.6 * len(parts)), layout="constrained")
    for axes, part in zip(figure.subplots(len(parts), 1, squeeze=False)[:, 0], parts, strict=True):
        rows = {name: row["times_ours"] for name, row in result[part].items() if "seconds" in row}
        axes.barh(list(rows), list(rows.values()), color="#4477aa")
        axes.axvline(1, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title(f"{part}: time of an epoch as a multiple of the program's", loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
