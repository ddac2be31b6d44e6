"""The package: one list of dependencies, extras that are asked for only where they are used, what a wheel holds."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import mlp_jax
from mlp_jax.errors import UserError, import_extra
from tests.shared.idx_files import write_idx_folder

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What an extra brings, as it is imported.
OPTIONAL = ("optuna", "sqlalchemy", "sklearn", "psycopg", "wandb", "tensorboardX", "trackio")


def wanted(lines: list[str]) -> set[str]:
    """Requirements of a list, those of the extras that it names among them."""
    found = set()
    for line in lines:
        inner = re.fullmatch(r"mlp-jax\[(.*)\]", line)
        found |= wanted([deep for name in inner[1].split(",") for deep in EXTRAS[name]]) if inner else {line}
    return found


def listed(path: str) -> set[str]:
    """Requirements of a file, without comments, and without the ceiling, which a library does not set."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    return {line.partition(",<")[0] for line in lines if line and not line.startswith("-r ")}


def test_the_files_of_requirements_are_the_package_s_own():
    everything = {*PROJECT["dependencies"], *wanted(EXTRAS["all"])}
    assert listed("requirements.txt") == everything
    assert listed("requirements-dev.txt") == wanted(EXTRAS["dev"]) - everything
    assert listed("docs/requirements.txt") == wanted(EXTRAS["docs"]) - everything


def test_every_extra_is_in_all():
    assert wanted(EXTRAS["all"]) == {
        line for name in EXTRAS if name not in ("dev", "docs") for line in wanted([f"mlp-jax[{name}]"])
    }


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {mlp_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == mlp_jax.__version__


def test_the_links_of_the_pages_at_the_root():
    from tests.program.test_docs import broken_links

    for page in ("CHANGELOG.md", "CONTRIBUTING.md", "RESULTS.md"):
        assert broken_links(ROOT / page) == []


def test_an_absent_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError) as caught:
        import_extra("optuna", "a sweep", "sweep")
    assert str(caught.value).startswith("a sweep needs optuna (")
    assert str(caught.value).endswith('): pip install "mlp-jax[sweep]"')


def main_without(folder: Path, *packages: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`mlp-jax` from an empty folder on a small data set, with none of these packages there."""
    write_idx_folder(folder / "patterns")
    (folder / "sweep.py").write_text(
        "def get_config():\n"
        "    rates = {'learning_rate': {'values': [0.1, 0.01]}}\n"
        "    metric = {'name': 'val/accuracy', 'goal': 'maximize'}\n"
        "    return {'sweep': {'method': 'grid', 'metric': metric, 'parameters': rates}}\n"
    )
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r})); from mlp_jax.cli import main; "
        "sys.exit(main(['mlp-jax', '--config.dataset=patterns', '--config.num_epochs=1', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_run_needs_no_extra(tmp_path):
    done = main_without(tmp_path, *OPTIONAL, flags=("--workdir=run",))
    assert (done.stderr, done.returncode) == ("", 0)
    assert (tmp_path / "run/report.html").exists()
    assert (tmp_path / "run/plots/curves.png").exists()


@pytest.mark.parametrize(
    ("package", "extra", "flag"),
    [
        ("optuna", "sweep", "--config=sweep.py"),
        ("sqlalchemy", "sweep", "--config=sweep.py"),
        ("sklearn", "sweep", "--config=sweep.py"),
        ("wandb", "wandb", "--config.tracker=wandb"),
        ("tensorboardX", "tensorboard", "--config.tracker=tensorboard"),
        ("trackio", "trackio", "--config.tracker=trackio"),
    ],
)
@pytest.mark.slow
def test_what_needs_an_absent_extra_is_one_line_and_no_folder(tmp_path, package, extra, flag):
    done = main_without(tmp_path, package, flags=(flag, "--workdir=run"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f'pip install "mlp-jax[{extra}]"' in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_wheel_holds_the_package_alone_and_all_of_it(tmp_path):
    """It is built as pip builds it, with the backend from PyPI."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if name.startswith("mlp_jax/")}
    assert {name.split("/")[0] for name in names - inside} == {f"mlp_jax-{mlp_jax.__version__}.dist-info"}
    here = {path for path in (ROOT / "mlp_jax").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert inside == {path.relative_to(ROOT).as_posix() for path in here}
