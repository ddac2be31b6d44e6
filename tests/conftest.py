"""What all tests share: a CPU of eight virtual devices, strict dtypes, and a list of what could not be tested.

With MLP_JAX_TEST_DEVICE=any they run on the device that JAX finds, as make check-accelerator does.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

DATASETS = ("fashion_mnist", "mnist")
DATA_DIR = os.environ.get("MLP_JAX_DATA_DIR", "")
ABSENT = [name for name in DATASETS if not DATA_DIR or not (Path(DATA_DIR) / name).is_dir()]
WHY = f"MLP_JAX_DATA_DIR has no {' and no '.join(ABSENT)}"


def pytest_configure(config: pytest.Config) -> None:
    on_cpu = os.environ.get("MLP_JAX_TEST_DEVICE") != "any"
    if on_cpu:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Programs compiled in an earlier test run or by a test's subprocess are used again; they are keyed by what was
    # compiled. Nothing goes to the cache in the user's home.
    os.environ["XDG_CACHE_HOME"] = str(config.cache.mkdir("home"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("xla"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ.setdefault("WANDB_MODE", "offline")
    # Small programs take longer to compile than to run: without LLVM's optimizations the suite takes 0.6 of the time.
    if on_cpu:
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

    import jax
    from hypothesis import settings

    settings.register_profile("no clock", deadline=None)  # a loaded machine is no failure
    settings.load_profile("no clock")
    jax.config.update("jax_num_cpu_devices", 8)  # not by XLA_FLAGS, which subprocesses would inherit
    jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real data are skipped where there is none, unless MLP_JAX_REQUIRE_REAL_DATA=1 makes that a failure."""
    if not ABSENT or os.environ.get("MLP_JAX_REQUIRE_REAL_DATA") == "1":
        return
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason=WHY))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not tested: the data or the tool is absent")
    for report in skipped:
        terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2].removeprefix('Skipped: ')}")


@pytest.fixture
def key():
    """A key that no other purpose shares."""
    import jax

    return jax.random.key(20260101)


@pytest.fixture(scope="session")
def data_dir() -> str:
    """The folder of the real archives; a test that asks for it is marked real_data."""
    assert not ABSENT, WHY
    return DATA_DIR


@pytest.fixture
def no_pictures() -> Iterator[None]:
    """For tests of a run's numbers."""
    from tests.shared.runs import numbers_alone

    with numbers_alone():
        yield
