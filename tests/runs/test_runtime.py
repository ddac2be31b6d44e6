"""What is decided before JAX starts: the cache and its broken entries, the devices, what a run ran on."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

from mlp_jax.errors import UserError
from mlp_jax.runs import runtime
from mlp_jax.runs.config import complete

READING = "Error reading persistent compilation cache entry for 'jit_f': broken"
WRITING = "Error writing persistent compilation cache entry for 'jit_f': full"


def test_the_cache_folder_is_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, folder in ((str(tmp_path / "caches"), "caches/mlp_jax"), ("", ".cache/mlp_jax")):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert runtime.cache_folder() == tmp_path / folder


@pytest.fixture
def updates(monkeypatch):
    """What `prepare` would tell JAX, which is told nothing."""
    told = {}
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back after the test
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runtime, "usable_cores", lambda: 6)
    return told


@pytest.fixture
def shown(monkeypatch):
    """The warnings that Python would show."""
    texts = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *details, **more: texts.append(str(message)))
    return texts


@pytest.mark.parametrize(
    ("fields", "devices"),
    [
        ({}, None),
        ({"seeds": 3}, 6),
        ({"sweep": {"method": "grid"}}, 6),
        ({"experiments": ("losses",)}, 6),
        ({"mesh": "data:4"}, 4),
        ({"mesh": "lanes:2,data:2", "seeds": 3}, 4),
    ],
)
def test_a_run_has_one_device_a_population_one_a_core_and_a_mesh_its_own(fields, devices, updates):
    runtime.prepare(complete(fields))
    assert updates.get("jax_num_cpu_devices") == devices
    assert "jax_enable_x64" not in updates


def test_float64_turns_64_bits_on(updates):
    runtime.prepare(complete({"precision": "float64"}))
    assert updates["jax_enable_x64"] is True


def test_several_processes_share_the_devices_of_a_mesh(updates):
    runtime.prepare(complete({"mesh": "data:8"}), processes=2)
    assert updates["jax_num_cpu_devices"] == 4
    with pytest.raises(UserError, match="mesh: 'data:8' has 8 devices, which do not divide over 3 processes"):
        runtime.prepare(complete({"mesh": "data:8"}), processes=3)


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_NUM_CPU_DEVICES", "2"), ("XLA_FLAGS", "--xla_force_host_platform_device_count=2")]
)
def test_the_devices_that_the_user_chose_stay(name, value, updates, monkeypatch):
    monkeypatch.setenv(name, value)
    runtime.prepare(complete({"seeds": 3}))
    assert "jax_num_cpu_devices" not in updates


def test_the_cache_of_the_user_stays_and_so_do_its_entries(updates, shown, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "theirs"))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/entry").touch()
    runtime._use_compilation_cache(tmp_path / "ours")
    assert updates == {}
    warnings.showwarning(UserWarning(READING), UserWarning, "file", 1)
    assert shown == [READING]  # theirs to mend
    assert (tmp_path / "ours/entry").exists()


def test_a_broken_entry_empties_the_cache_and_other_warnings_are_shown(updates, shown, tmp_path):
    folder = tmp_path / "new" / "xla"
    runtime._use_compilation_cache(folder)
    assert updates["jax_compilation_cache_dir"] == str(folder)
    for name in ("one-cache", "two-cache"):
        (folder / name).touch()
    (folder / "xla_gpu_per_fusion_autotune_cache_dir").mkdir()
    for text, left in ((WRITING, 3), ("another", 3), (READING, 1)):
        warnings.showwarning(UserWarning(text), UserWarning, "file", 1)
        assert len(list(folder.iterdir())) == left
    assert shown == ["another"]


def test_a_cache_that_cannot_be_made_is_done_without(updates, tmp_path):
    (tmp_path / "file").touch()
    runtime._use_compilation_cache(tmp_path / "file" / "xla")
    assert "jax_compilation_cache_dir" not in updates


COMPILE = """
import jax
from configs.default import get_config
from mlp_jax.errors import UserError
from mlp_jax.runs import runtime
from mlp_jax.runs.config import complete
runtime.usable_cores = lambda: {cores}
runtime.prepare(get_config())
print(jax.jit(lambda x: x * 2 + 1)(20), jax.device_count())
"""


def compile_in(cache: Path, cores: int = 1) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    env |= {"XDG_CACHE_HOME": str(cache), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", COMPILE.format(cores=cores)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "41 1\n", "")


def test_a_broken_entry_costs_one_compilation_and_is_gone(tmp_path):
    """In processes of their own: JAX itself warns of an entry that it cannot read, and leaves it there."""
    compile_in(tmp_path)
    entries = list((tmp_path / "mlp_jax/xla/1-cores").glob("*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(b"broken")
    compile_in(tmp_path)
    assert all(entry.read_bytes() != b"broken" for entry in entries if entry.exists())


def test_a_program_compiled_for_one_core_is_not_used_on_more(tmp_path):
    """XLA divides a program's loops by the number of cores, which its keys do not hold."""
    compile_in(tmp_path, cores=1)
    kept = set(tmp_path.rglob("*-cache"))
    compile_in(tmp_path, cores=3)
    assert len(set(tmp_path.rglob("*-cache"))) == 2 * len(kept) > 0


def test_a_run_says_what_it_ran_on():
    found = runtime.describe()
    assert found["device"].startswith("cpu (")
    assert found["device_count"] == len(jax.devices())
    assert found["threads"] == len(os.sched_getaffinity(0))
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["python"] == sys.version.split()[0]


@pytest.mark.parametrize(
    ("file", "package"),
    [("nvidia0", "jax[cuda13]<0.12"), ("kfd", "jax[rocm7-local]<0.12"), ("accel0", "jax[tpu]<0.12"), ("nvidiactl", "")],
)
def test_an_accelerator_that_jax_does_not_use_is_named(file, package, monkeypatch, tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / file).touch()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert runtime.unused_accelerator(tmp_path) == ""
    monkeypatch.delenv("JAX_PLATFORMS")
    line = runtime.unused_accelerator(tmp_path)
    assert bool(line) == bool(package)
    assert package in line


def test_flags_that_make_a_gpu_repeat_itself_are_known_to_xla():
    """A flag that XLA does not know would end the program; the documentation names these."""
    flags = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"
    assert flags in (Path(runtime.__file__).parents[2] / "docs/accelerators.md").read_text()
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_commit_is_that_of_the_checkout_or_nothing(monkeypatch, tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.hooksPath="]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    file = tmp_path / "mlp_jax/runs/runtime.py"
    file.parent.mkdir(parents=True)
    file.write_text("1\n")
    monkeypatch.setattr(runtime, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runtime._commit() == ""
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")[:12]
    (tmp_path / "notes").touch()
    assert runtime._commit() == commit
    file.write_text("2\n")
    assert runtime._commit() == f"{commit}+"
    git("rm", "-q", "--cached", str(file))  # as a package that is installed within another project
    git("commit", "-qm", "second")
    assert runtime._commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime._commit() == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion"),
        ("--a=b", "--a=b --xla_backend_extra_options=xla_cpu_use_multi_output_fusion"),
        ("--xla_backend_extra_options=x", "--xla_backend_extra_options=x"),
    ],
)
def test_the_flag_for_one_loop_joins_those_of_the_user_and_yields_to_his_own(given, expected, updates, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    runtime.prepare(complete({}))
    assert os.environ["XLA_FLAGS"] == expected
