"""HTML pages that need nothing but themselves: no network, every text escaped, scripts admitted by their hash alone."""

import base64
import hashlib
import html
import io
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import as_flags, is_number
from mlp_jax.files.workdir import plain, write_bytes
from mlp_jax.reports.plots import DPI

Json = Mapping[str, Any]

TEMPLATES = Path(__file__).parent / "templates"
SHARES = ("accuracy", "precision", "recall", "f1")  # names whose last part is a share of 1
VOID = ("meta", "img", "br")
NAMES = {
    "relu": "ReLU", "gelu": "GELU", "elu": "ELU", "leaky_relu": "leaky ReLU", "sgd": "SGD", "rmsprop": "RMSprop",
    "adam": "Adam", "nadam": "Nadam", "muon": "Muon", "nesterov": "Nesterov momentum", "cross_entropy": "cross-entropy",
    "mse": "squared error", "fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "xavier": "Xavier", "he": "He",
    "kmnist": "KMNIST", "mnist1d": "MNIST-1D", "bayes": "Bayesian",
}  # fmt: skip


# ---- elements


class Html(str):
    """Text that is HTML already. Everything else is escaped when it enters a tag."""


def tag(element: str, *children: object, **attributes: object) -> Html:
    """One element; `class_` is the attribute class, `data_x` is data-x; an attribute that is None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children)
    return Html(f"<{element}{written}>" if element in VOID else f"<{element}{written}>{inner}</{element}>")


def write_page(path: Path, title: str, body: Sequence[Html], data: Json) -> Path:
    """Writes a whole document, whose script reads `data`, in one step; returns its path."""
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = (
        f'<meta charset="utf-8">{tag("meta", http_equiv="Content-Security-Policy", content=policy)}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{tag('title', title)}<style>{style}</style>"
    )
    scripts = f'<script type="application/json" id="data">{embedded_json(data)}</script><script>{script}</script>'
    document = tag("html", tag("head", Html(head)), tag("body", *body, Html(scripts)), lang="en")
    write_bytes(path, f"<!DOCTYPE html>\n{document}\n".encode())
    return path


def embedded_json(value: Any) -> str:
    """JSON that cannot end its script element; numbers that are not finite become null."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")


# ---- values as words


def number(value: Any, name: str = "") -> str:
    """How a value is shown: a share of 1 as a percentage, a float in four figures, what is missing or infinite as –."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{100 * value:.2f} %" if name.endswith(SHARES) else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"({', '.join(number(item) for item in value)}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)


def percent(value: Any) -> str:
    """A share of 1, or – where it is none."""
    return f"{100 * value:.2f} %" if is_number(value) else "–"


def seconds(value: Any) -> str:
    """A duration in the unit that suits it."""
    if not is_number(value):
        return "–"
    return f"{value:.3g} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def spoken(value: Any) -> str:
    """A config's word as prose has it."""
    return NAMES.get(str(value), str(value))


def command_line(config: Json, defaults: Json) -> str:
    """The command that trains `config`: every field that differs from `defaults`, quoted for a shell; no paths."""
    differing = [name for name in _differing(config, defaults) if name in defaults and name != "data_dir"]
    return shlex.join(["python", "main.py", *as_flags({name: config[name] for name in differing})])


def pre(*commands: str) -> Html:
    """Commands of a shell, one after another, to be pasted; a line breaks between arguments only."""
    words = [[shlex.quote(word) for word in shlex.split(command)] for command in commands]
    spans = [tag("span", word) for words_of_one in words for word in ["&&", *words_of_one]][1:]
    return tag("pre", Html(" ".join(spans)))


def _differing(config: Json, defaults: Json) -> list[str]:
    usual = plain(defaults)
    return [name for name, value in config.items() if usual.get(name, "") != value]


# ---- tables, bars, pictures


class Shown(NamedTuple):
    """A table's cell that sorts by `value` and looks like `html`."""

    value: float | None
    html: Html


def table(rows: Sequence[Json]) -> Html:
    """Rows that share their keys, which become the heads; numbers stand right and sort as numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name for name in names if any(is_number(row.get(name)) for row in rows)}
    sorting = numeric | {name for name in names if any(isinstance(row.get(name), Shown) for row in rows)}
    kinds = {name: "number" if name in numeric else None for name in names}
    lines = []
    for row in rows:
        cells = []
        for name in names:
            value = row.get(name)
            raw, shown = value if isinstance(value, Shown) else (value, number(value, name))
            raw = (raw if is_number(raw) else "") if name in sorting else None
            cells.append(tag("td", shown, class_=kinds[name], data_value=raw))
        lines.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *(tag("th", name, scope="col", class_=kinds[name]) for name in names)))
    return tag("div", tag("table", head, tag("tbody", *lines), class_="sortable"), class_="scroll")


def facts(rows: Mapping[str, str]) -> Html:
    """Names with their texts."""
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", text)) for name, text in rows.items()]
    return tag("table", tag("tbody", *lines))


def config_table(config: Json, defaults: Json) -> Html:
    """The fields that differ from the defaults, with the default beside them; all others folded away below."""
    differing = _differing(config, defaults)
    lines = [
        tag("tr", tag("th", name, scope="row"), tag("td", number(config[name])),
            tag("td", number(defaults[name]) if name in defaults else "", class_="default"), class_="differs")
        for name in differing
    ]  # fmt: skip
    head = tag("thead", tag("tr", tag("th", "field"), tag("th", "value"), tag("th", "default")))
    others = {name: number(value) for name, value in config.items() if name not in differing}
    folded = tag("details", tag("summary", f"{len(others)} fields as the defaults have them"), facts(others))
    shown = tag("table", head, tag("tbody", *lines)) if lines else tag("p", "Every field is as the defaults have it.")
    return tag("div", shown, *([folded] if others else []))


def bar(value: float | None, kind: str = "", scale: float = 5.0, text: str = "") -> Html:
    """A bar of `scale` rem for 1, and a text, which is the share in figures unless another is given."""
    if value is None:
        return Html("–")
    drawn = tag("span", class_=f"bar {kind}".strip(), style=f"width:{scale * abs(value):.2f}rem")
    return Html(f"{drawn} {text or f'{100 * value:.1f} %'}")


def button(name: str, text: str, **attributes: object) -> Html:
    """A button that the script finds by its name."""
    return tag("button", text, type="button", class_="button", id=name, **attributes)


def picture(path: Path) -> Html:
    """A PNG file inside the page, as large as it was drawn, so that its letters have the size of the page's."""
    png = path.read_bytes()
    width = int.from_bytes(png[16:20], "big") * 96 / DPI  # the width that its header says, in pixels of CSS
    return tag("figure", tag("img", src=_uri(png), alt=path.stem.replace("_", " "), style=f"width:{width:.0f}px"))


def tiny_png(pixels: np.ndarray) -> str:
    """uint8 (height, width) or (height, width, 3) as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return _uri(buffer.getvalue())


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
