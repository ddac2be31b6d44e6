"""Writes fields.md, the page of every field of a config, from mlp_jax/runs/defaults.py and what checks each field.

python docs/fields.py     # from the repository's root; a test compares the page with `page()`
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlp_jax.errors import as_flag  # noqa: E402
from mlp_jax.runs import defaults  # noqa: E402
from mlp_jax.runs.config import RANGES, choices  # noqa: E402

PAGE = Path(__file__).with_name("fields.md")
LEAD = """# Every field of a config

Written by `python docs/fields.py` from [mlp_jax/runs/defaults.py](../mlp_jax/runs/defaults.py), which declares each
field with its unit and the reason for its default. A field is given as `--config.FIELD=VALUE`, in Python as
`mlp_jax.train(FIELD=VALUE)`; a tuple as `128,64`. The mathematics behind them: [mathematics.md](mathematics.md).
A sweep's config has `sweep` and `storage` besides, a set of experiments `experiments`, `budget` (`quick`
or `full`) and `edition` (2026 or 2025).
"""


def sections() -> dict[str, dict[str, str]]:
    """Heading -> field -> meaning, from the comments of `FIELDS`.

    A comment on a field's line is its meaning. Of comments on lines of their own the first is a heading if it has no
    punctuation, and the others are the meaning of the next field, whose own line has none.
    """
    source = inspect.getsource(defaults).partition("FIELDS: dict[str, Any] = {\n")[2].partition("\n}\n")[0]
    found: dict[str, dict[str, str]] = {}
    block: list[str] = []
    heading = ""
    for line in source.splitlines():
        if comment := re.fullmatch(r" *# (.*)", line):
            block.append(comment[1])
            continue
        field = re.fullmatch(r' *"(\w+)": .*?,(?:  # (.*))?', line)
        if not field:
            raise ValueError(f"defaults.py: {line!r} is neither a comment nor a field")
        if block and not re.search(r"[.,:;]", block[0]):
            heading, *block = block
            found[heading] = {}
        found[heading][field[1]] = field[2] or " ".join(block)
        block = []
    return found


def allowed(field: str, default: Any) -> str:
    """What the field may hold, as an error says it."""
    if field in choices():
        return ", ".join(f"`{name}`" for name in choices()[field])
    if field in RANGES:
        return RANGES[field][1]
    return "true or false" if isinstance(default, bool) else "a text"


def page() -> str:
    """The content of fields.md."""
    lines = [LEAD]
    for heading, fields in sections().items():
        lines += [f"## {heading}", "", "| field | default | meaning | allowed |", "|---|---|---|---|"]
        for field, meaning in fields.items():
            default = defaults.FIELDS[field]
            shown = f"`{as_flag(default)}`" if default != "" else "''"
            row = [f"`{field}`", shown, meaning, allowed(field, default)]
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
