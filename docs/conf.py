"""Sphinx's settings. `make docs` builds docs/_build/html and checks every link and anchor within."""

import os
from pathlib import Path

import jupytext
import nbformat
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "mlp_jax"
author = "the authors of mlp_jax"
project_copyright = author
extensions = ["myst_nb"]
exclude_patterns = ["_build"]
highlight_language = "text"  # of a block that names none: commands
nitpicky = True

# The pages are written for GitHub as well: ```math blocks, dollars within a line, GitHub's anchors.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = {"math"}
myst_heading_anchors = 4

# The notebooks run as the pages are built, on the library of this checkout; an error in one is an error of the build.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = str(HERE.parent)

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
    if page.startswith("notebooks/"):
        before, title, text = source[0].partition("\n# ")
        heading, _, rest = text.partition("\n")
        source[0] = f"{before}{title}{heading}\n\n{_open(Path(page).name)}\n{rest}"
    if page == "index":
        found = app.project.docnames - {"index"}
        first = [name for name in FIRST if name in found]
        source[0] += "\n".join(["", "```{toctree}", ":hidden:", "", *first, *sorted(found - {*first}), "```", ""])


def _open(name: str) -> str:
    """The line above a notebook; Colab opens what lies at an address, DOCS_URL, and else what is uploaded to it."""
    notebook, site = f"{name}.ipynb", os.environ.get("DOCS_URL", "").rstrip("/")
    if site:
        return f"[Open in Colab](https://colab.research.google.com/#fileId={site}/notebooks/{notebook})"
    return f'<a href="{notebook}" download>{notebook}</a>: for Jupyter, or to upload to colab.research.google.com'


def _write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Each notebook as a file for Jupyter and Colab, which begins with the install."""
    for path in sorted((HERE / "notebooks").glob("*.md")) if app.builder.format == "html" and not error else ():
        notebook = jupytext.read(path)
        notebook.cells.insert(0, nbformat.v4.new_code_cell('%pip install -q "mlp-jax[all]"'))
        (Path(app.outdir) / "notebooks").mkdir(exist_ok=True)
        jupytext.write(notebook, Path(app.outdir) / "notebooks" / f"{path.stem}.ipynb", fmt="ipynb")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _adapt)
    app.connect("build-finished", _write_notebooks)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
