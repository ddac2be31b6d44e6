"""Sphinx's settings. `make docs` builds docs/_build/html and checks every link and anchor within."""

import os

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "mlp_jax"
author = "the authors of mlp_jax"
project_copyright = author
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
highlight_language = "text"  # of a block that names none: commands
nitpicky = True

# The pages are written for GitHub as well: ```math blocks, dollars within a line, GitHub's anchors.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = {"math"}
myst_heading_anchors = 4

html_theme = "furo"
html_title = "mlp_jax"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_show_sphinx = False
html_show_search_summary = False  # it fetches pages, which a browser forbids to a page that is opened as a file
html_math_renderer = "mathml"

# Links to other sites are looked at only where there is a network: DOCS_EXTERNAL_LINKS=1 make docs.
linkcheck_ignore = [] if os.environ.get("DOCS_EXTERNAL_LINKS") == "1" else [r"https?://"]
linkcheck_timeout = 20

FIRST = ("ideas", "backpropagation", "optimizers")  # in this order; every other page follows by its name


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(convert(node.astext(), display="inline"))
    raise nodes.SkipNode


def _display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _adapt(app: Sphinx, page: str, source: list[str]) -> None:
    """What GitHub would show as it stands: the table of contents, and pages outside of Sphinx's tree as files."""
    for name in ("README.md", "RESULTS.md"):
        source[0] = source[0].replace(f"](../{name}", f"](path:../{name}")
    if page == "index":
        found = app.project.docnames - {"index"}
        first = [name for name in FIRST if name in found]
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *first, *sorted(found - {*first}), "```", ""])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _adapt)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
