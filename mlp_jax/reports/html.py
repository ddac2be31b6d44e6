"""HTML pages that need nothing but themselves: no network, every text escaped, scripts admitted by their hash alone."""

import base64
import hashlib
import html
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TEMPLATES = Path(__file__).parent / "templates"
SHARES = ("accuracy", "precision", "recall", "f1")  # names whose last part is a share of 1
VOID = ("meta", "img", "br")


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


class Shown(NamedTuple):
    """A table's cell that sorts by `value` and looks like `html`."""

    value: float | None
    html: Html


def join(parts: Sequence[Html]) -> Html:
    """Several elements as one."""
    return Html("".join(parts))


def page(title: str, *body: Html, data: Mapping[str, Any] | None = None) -> str:
    """A whole document; `data` is what the script reads, which is left out where there is none."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8") if data is not None else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    )
    scripts = Html("")
    if data is not None:
        scripts = Html(
            f'<script type="application/json" id="data">{embedded_json(data)}</script><script>{script}</script>'
        )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body, scripts), lang='en')}\n"


def embedded_json(value: Any) -> str:
    """JSON that cannot end its script element; numbers that are not finite become null."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")


def finite(value: Any) -> Any:
    """The same JSON value with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def number(value: Any, name: str = "") -> str:
    """How a value is shown: a share of 1 as a percentage, a float in four figures, what is missing or infinite as –."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, float):
        return f"{100 * value:.2f} %" if name.endswith(SHARES) else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"({', '.join(number(item) for item in value)}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)


def table(rows: Sequence[Mapping[str, Any]], class_: str = "sortable") -> Html:
    """Rows that share their keys, which become the heads; numbers stand right and sort as numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {name for name in names if any(_is_number(row.get(name)) for row in rows)}
    sorting = numeric | {name for name in names if any(isinstance(row.get(name), Shown) for row in rows)}
    heads = [tag("th", name, scope="col", class_="number" if name in numeric else None) for name in names]
    lines = []
    for row in rows:
        cells = []
        for name in names:
            value = row.get(name)
            raw, shown = value if isinstance(value, Shown) else (value, number(value, name))
            raw = (raw if _is_number(raw) else "") if name in sorting else None
            cells.append(tag("td", shown, class_="number" if name in numeric else None, data_value=raw))
        lines.append(tag("tr", *cells))
    body = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_=class_)
    return tag("div", body, class_="scroll")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def picture(path: Path, caption: str = "") -> Html:
    """A PNG file inside the page."""
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    image = tag("img", src=source, alt=caption or path.stem.replace("_", " "))
    return tag("figure", image, tag("figcaption", caption)) if caption else tag("figure", image)


def tiny_png(pixels: np.ndarray) -> str:
    """uint8 (height, width) or (height, width, 3) as a data URI of a PNG, its filter bytes and chunks written here.

    Source: PNG specification, 3rd edition, sections 5 and 7; a page holds hundreds of these, so nothing slower will do.
    """
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
