"""The documentation: its examples run, its links lead somewhere, and the code that it names exists."""

import ast
import doctest
import importlib
import re
import runpy
from pathlib import Path

import jax
import pytest

from mlp_jax.runs.defaults import get_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page for page in (ROOT / "docs").glob("**/*.md") if "_build" not in page.parts)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_fences(text: str) -> str:
    return FENCE.sub("", text)


def examples(text: str) -> str:
    """The Python blocks of a page, every other line left blank, so that line numbers stay."""
    lines = [""] * (text.count("\n") + 1)
    for fence in FENCE.finditer(text):
        if fence[1] == "python":
            first = text.count("\n", 0, fence.start(2))
            lines[first : first + fence[2].count("\n")] = fence[2].splitlines()
    return "\n".join(lines)


def slug(heading: str) -> str:
    """The anchor that GitHub, and MyST after it, make of a heading."""
    heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", without_fences(page.read_text()), re.MULTILINE)}


def broken_links(page: Path) -> list[str]:
    """Relative links and anchors of a page that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def resolve(name: str) -> object:
    """What `package.module.attribute["key"].attribute` names; raises if there is no such thing."""
    path, *parts = re.findall(r'\w+|\["\w+"\]', name)
    found: object = importlib.import_module(path)
    for part in parts:
        path += f".{part}"
        if part.startswith("["):
            found = found[part[2:-2]]  # type: ignore[index]
        else:
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
    return found


def code_names(text: str) -> list[str]:
    """Every `mlp_jax.…` in backquotes; arguments and what stands after `[...]` are left away."""
    return re.findall(r'`(mlp_jax(?:\.\w+|\["\w+"\])+)', without_fences(text))


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in examples(page.read_text())], ids=name_of)
def test_examples(page):
    """What a page computes is what it says."""
    wide = jax.config.jax_enable_x64
    test = doctest.DocTestParser().get_doctest(examples(page.read_text()), {}, name_of(page), name_of(page), 0)
    output: list[str] = []
    try:
        result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=output.append)
    finally:
        jax.config.update("jax_enable_x64", wide)
    assert result.attempted > 0
    assert result.failed == 0, "".join(output)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name_of)
def test_links(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_named_exists(page):
    for name in code_names(page.read_text()):
        resolve(name)


@pytest.mark.parametrize("page", [page for page in PAGES if "```math" in page.read_text()], ids=name_of)
def test_every_section_with_an_equation_names_its_code(page):
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE):
        assert "```math" not in section or code_names(section), section.split("\n")[0]


def test_a_broken_page_is_noticed(tmp_path):
    """The checks above find what they look for."""
    page = tmp_path / "page.md"
    page.write_text("# One heading: `x`, y\n[a](#one-heading-x-y) [b](#none) [c](none.md) [d](https://x.org)\n")
    assert broken_links(page) == ["#none", "none.md"]
    with pytest.raises(ModuleNotFoundError):
        resolve("mlp_jax.model.no_such_function")
    assert examples("text\n```python\n>>> 1\n1\n```\nend\n") == "\n\n>>> 1\n1\n\n\n"


def test_the_page_of_the_house_has_every_file_as_it_says_it_of_itself():
    package = ROOT / "mlp_jax"
    said = {
        path.relative_to(package).as_posix(): (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    }
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert dict(rows) == said


def test_the_page_of_the_fields_has_them_all_as_they_are_declared():
    page = (ROOT / "docs/fields.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) == set(get_config())
    assert page == runpy.run_path(str(ROOT / "docs/fields.py"))["page"](), "python docs/fields.py writes it anew"
