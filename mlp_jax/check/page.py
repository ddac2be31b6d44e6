"""check.html: what was checked, expected beside found, with the known mistakes, their mends and the right equations."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mlp_jax
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, VERDICTS, WRONG, Finding
from mlp_jax.check.mistakes import MISTAKES
from mlp_jax.reports.html import Html, Shown, table, tag, write_page

DOCS = Path(mlp_jax.__file__).parents[1] / "docs"
# The equation that an item is held against, by the heading that derives it.
EQUATIONS = {
    "forward-pass": "Z = H·W + b, A = f(Z); the last Z are the logits",
    "the-objective": "J = mean of the losses + λ/2·Σ‖W‖²",
    "softmax-and-its-jacobian": "∂ℓ/∂z = p ⊙ (d − Σ d⊙p), d = ∂ℓ/∂p",
    "cross-entropy": "ℓ = −Σ y·log p; ∂ℓ/∂z = p − y",
    "squared-error": "ℓ = 1/K·Σ(p − y)²; ∂ℓ/∂z = p ⊙ (d − Σ d⊙p), d = 2(p − y)/K",
    "through-an-affine-layer": "∂W = Hᵀ·Δ, ∂b = Σ Δ, ∂H = Δ·Wᵀ",
    "through-the-activation": "Δ(before) = ∂A ⊙ f′(Z)",
    "dropout": "H = M ⊙ A, M is 0 or 1/(1 − rate)",
    "weight-decay": "∂W gains λ·W; ∂b gains nothing",
    "the-mean-over-a-batch-and-a-short-batch": "every row counts 1/B, once",
    "the-whole-algorithm": "Δ at the logits, then layer by layer: ∂W = Hᵀ·Δ, ∂b = Σ Δ, Δ ← (Δ·Wᵀ) ⊙ f′(Z)",
    "sgd": "w ← w − η·g",
    "momentum": "u ← μu + g, w ← w − η·u",
    "nesterov": "u ← μu + g, w ← w − η(g + μu)",
    "rmsprop": "v ← βv + (1−β)g², w ← w − η·g/(√v + ε)",
    "adam": "m̂ = m/(1−β1ᵗ), v̂ = v/(1−β2ᵗ), w ← w − η·m̂/(√v̂ + ε), t from 1",
    "nadam": "as Adam, with β1·m/(1−β1ᵗ⁺¹) + (1−β1)·g/(1−β1ᵗ) in place of m̂",
}
COLORS = {RIGHT: "good", WRONG: "poor", FAILED: "poor", UNSURE: "grey"}
Checked = tuple[str, Sequence[Finding]]


def write_check_page(path: Path, checked: Sequence[Checked], isolation: str) -> Path:
    """One offline page of one submission or of many, each a name with its findings; returns its path."""
    many = len(checked) > 1
    title = f"{len(checked)} submissions checked" if many else f"{checked[0][0]}, checked"
    counts = Counter(finding.verdict for _, findings in checked for finding in findings)
    tiles = [tag("li", tag("b", counts[verdict]), tag("span", f"items {verdict}")) for verdict in VERDICTS]
    body = [tag("h1", title), tag("p", _lead(checked), class_="lead"), tag("ul", *tiles, class_="tiles")]
    if many:
        body += [
            tag("h2", "Every submission", id="submissions"),
            table([_row(*one, n) for n, one in enumerate(checked)]),
        ]
        body += _mistakes_of_all(checked)
    for place, (name, findings) in enumerate(checked):
        body.append(tag("h2", name if many else "Every item", id=f"s{place}"))
        body += _section(findings, path)
    body += [tag("h2", "How it was checked", id="how"), tag("p", isolation)]
    return write_page(path, title, body, {})


def _lead(checked: Sequence[Checked]) -> str:
    if len(checked) > 1:
        clean = sum(1 for _, findings in checked if findings and all(f.verdict == RIGHT for f in findings))
        return f"All of it is right in {clean} of {len(checked)} submissions."
    findings = checked[0][1]
    wrong = [finding.item for finding in findings if finding.verdict in (WRONG, FAILED)]
    if not findings:
        return "Nothing was found that can be checked."
    if wrong:
        return f"{len(wrong)} of {len(findings)} items are not right: {', '.join(dict.fromkeys(wrong))}."
    unsure = sum(finding.verdict == UNSURE for finding in findings)
    return f"{len(findings) - unsure} of {len(findings)} items are right" + (f", {unsure} unsure." if unsure else ".")


def _row(name: str, findings: Sequence[Finding], place: int) -> dict[str, object]:
    counts = Counter(finding.verdict for finding in findings)
    names = dict.fromkeys(mistake for finding in findings for mistake in finding.mistakes)
    link = Shown(place, tag("a", name, href=f"#s{place}"))
    return {
        "submission": link,
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "known mistakes": ", ".join(names),
    }


def _mistakes_of_all(checked: Sequence[Checked]) -> list[Html]:
    """How often each known mistake occurs: what a teacher may want to say to all."""
    counts = Counter(name for _, findings in checked for name in {m for f in findings for m in f.mistakes})
    if not counts:
        return []
    rows = [
        {"mistake": name, "submissions": count, "mend": MISTAKES[name].mend if name in MISTAKES else ""}
        for name, count in counts.most_common()
    ]
    return [tag("h2", "Known mistakes", id="mistakes"), table(rows)]


def _section(findings: Sequence[Finding], page: Path) -> list[Html]:
    if not findings:
        return [tag("p", "Nothing was found that can be checked.")]
    order = {FAILED: 0, WRONG: 0, UNSURE: 1, RIGHT: 2}
    rows = [_item(finding, page) for finding in sorted(findings, key=lambda finding: order[finding.verdict])]
    head = tag("tr", *(tag("th", name, scope="col") for name in ("item", "verdict", "expected", "found", "what it is")))
    return [tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="check"), class_="scroll")]


def _item(finding: Finding, page: Path) -> Html:
    error = tag("div", f"off by {finding.error:.1e}", class_="muted") if finding.error else Html("")
    item = tag(
        "th", finding.item, tag("div", finding.where, class_="muted") if finding.where else Html(""), scope="row"
    )
    verdict = tag("td", tag("b", finding.verdict, class_=COLORS[finding.verdict]), error)
    values = [tag("td", getattr(finding, name), data_name=name) for name in ("expected", "found")]
    about = [_known(name) for name in finding.mistakes]
    about += [tag("div", finding.note)] if finding.note else []
    about += [_equation(finding.equation, page)] if finding.equation and finding.verdict != RIGHT else []
    return tag("tr", item, verdict, *values, tag("td", *about))


def _known(name: str) -> Html:
    mistake = MISTAKES.get(name)
    rest = [tag("div", mistake.symptom), tag("div", "mend: ", tag("code", mistake.mend))] if mistake else []
    return tag("div", tag("b", f"known mistake: {name}"), *rest)


def _equation(heading: str, page: Path) -> Html:
    """The equation, with a link to where it is derived if the documentation is on this machine."""
    name, _, anchor = heading.partition("#")
    file = DOCS / f"{name.removesuffix('.md')}.md"
    source = f"docs/{file.name}" + (f"#{anchor}" if anchor else "")
    link: Html | str = source
    if file.exists():
        way = os.path.relpath(file, page.resolve().parent).replace(os.sep, "/")
        link = tag("a", source, href=f"{way}#{anchor}" if anchor else way)
    known = EQUATIONS.get(anchor)
    return tag("div", f"right is {known}; " if known else "right is in ", link, class_="muted")
