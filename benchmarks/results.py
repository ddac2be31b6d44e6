"""Results as files: JSON, and what stands of it between marks of docs/performance.md and README.md, and the plots."""

import json
import math
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.reach import Result, table
from benchmarks.sweep import OURS

ROOT = Path(__file__).parent.parent
PAGE, README = ROOT / "docs/performance.md", ROOT / "README.md"
# Between which lines of docs/performance.md the tables of each form stand.
BEGIN = {
    "short": "<!-- short form: written by python -m benchmarks --write -->",
    "long": "<!-- long form: written by python -m benchmarks --long --write -->",
    "sweep": "<!-- sweep: written by python -m benchmarks sweep --write -->",
}
END = "<!-- end -->"
SWEEP_PLOT = "images/models_an_hour.png"  # from docs/
SAME = 0.01  # of the way: below that two updates differ by rounding and by where ε stands


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


def sweep(result: Result) -> list[str]:
    """A Markdown table of the same trials by our sweep and by the peers'."""
    rows = [
        "| | wall s | models an hour | times ours | best validation | mean | other updates | versions |",
        "|" + "---|" * 8,
    ]
    for name, row in result.get("sweep", {}).items():
        if "absent" in row:
            rows.append(f"| {name} | not measured: {row['absent']} | | | | | | |")
            continue
        other = ", ".join(f"{k} {v:.0%}" for k, v in row.get("updates", {}).items() if v > SAME) or "none"
        versions = ", ".join(f"{package} {version}" for package, version in row["versions"].items())
        rows.append(
            f"| {name} | {row['seconds']:.0f} | {row['models_per_hour']:,.0f} | {row.get('times_ours', math.nan):.2f} "
            f"| {row['best']:.2%} | {row['mean']:.2%} | {'' if name == OURS else other} | {versions} |"
        )
    return rows


def headline(result: Result) -> str:
    """README's sentence of the sweep, with the hardware; '' where ours was not measured."""
    rows = result.get("sweep", {})
    if OURS not in rows:
        return ""
    ours, machine = rows[OURS], result["machine"]
    peers = [
        f"{name} {row['times_ours']:.1f} × as long"
        for name, row in rows.items()
        if name != OURS and "absent" not in row
    ]
    said = (
        f"**{ours['models_per_hour']:,.0f} models an hour** on {machine['cores']} cores, {machine['device']}: "
        f"{ours['trials']} random trials of the suggested grid, cold, in {ours['seconds'] / 60:.1f} minutes. "
        f"{'The same takes ' * bool(peers)}{', '.join(peers)} ([how](docs/performance.md#a-whole-sweep))."
    )
    return textwrap.fill(said, 120, break_long_words=False, break_on_hyphens=False)


def lines(result: Result) -> list[str]:
    """What stands on the page of a result: machine, when each part was measured, the tables."""
    told = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    measured: dict[str, list[str]] = {}
    for part, when in result["measured"].items():
        measured.setdefault(when, []).append(part)
    page = [f"Measured on: {told}.", *(f"At {when}: {', '.join(parts)}." for when, parts in measured.items())]
    for rows in (table(result), sweep(result), contestants(result), cells(result)):
        page += ["", *rows] if len(rows) > 2 else []
    return page + (["", f"![Models an hour of each contestant]({SWEEP_PLOT})"] if "sweep" in result else [])


def insert(page: Path, begin: str, lines: list[str]) -> None:
    """Puts lines into a page between its mark and the next end."""
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{begin}\n\n" + "\n".join(lines).rstrip() + f"\n\n{END}{after}")


def publish(name: str, result: Result) -> None:
    """Tables, plot and README's sentence of a form."""
    insert(PAGE, BEGIN[name], lines(result))
    if name == "short":
        plot(PAGE.parent / "images/performance.png", result)
    if name == "sweep" and headline(result):
        insert(README, BEGIN[name], [headline(result)])
        plot_sweep(PAGE.parent / SWEEP_PLOT, result)


def plot_sweep(path: Path, result: Result) -> None:
    """Models an hour, a bar a contestant, with its multiple of our time."""
    from matplotlib.figure import Figure

    rows = {name: row for name, row in result["sweep"].items() if "seconds" in row}
    figure = Figure(figsize=(8, 0.8 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rows), [row["models_per_hour"] for row in rows.values()], color="#4477aa")
    said = [
        f"{row['models_per_hour']:,.0f}" + f", {row['times_ours']:.1f} times our time" * (name != OURS)
        for name, row in rows.items()
    ]
    axes.bar_label(bars, said, padding=4, fontsize=8)
    axes.margins(x=0.3)
    axes.invert_yaxis()
    ours, machine = next(iter(rows.values())), result["machine"]
    title = f"Models an hour, {ours['trials']} trials, cold, {machine['cores']} cores, {machine['device']}"
    axes.set_title(title, loc="left", fontsize=9)
    axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)


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
