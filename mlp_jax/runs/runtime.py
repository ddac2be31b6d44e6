"""What has to be decided before JAX starts: devices, threads, 64-bit mode, the compilation cache."""

import math
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

from ml_collections import ConfigDict

from mlp_jax.errors import UserError


def cache_folder() -> Path:
    """The folder for what can be made again: compiled programs and decoded data."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlp_jax"


def usable_cores() -> int:
    """Cores this process may run on; the bits of large products depend on their number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(config: ConfigDict, processes: int = 1) -> None:
    """Sets up JAX for a config; it must come before the first computation.

    A run on a CPU gets one device, a population one a core, a mesh as many as it names (of several processes each its
    share); the user's own XLA_FLAGS or JAX_NUM_CPU_DEVICES win.
    """
    _fuse_outputs()
    import jax

    from mlp_jax.lanes.placement import parse_mesh

    population = "sweep" in config or "experiments" in config or config.seeds > 1
    named = math.prod(parse_mesh(config.mesh).values())
    if named % processes and config.mesh:
        raise UserError(f"mesh: {config.mesh!r} has {named} devices, which do not divide over {processes} processes")
    _use_cpu_devices(named // processes if config.mesh else usable_cores() if population else 1)
    if config.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    _use_compilation_cache(_programs())


@cache
def prepare_library() -> None:
    """Sets up JAX for calls from Python, where a program has not started it yet: one device a core of a CPU.

    A JAX that has started keeps its devices; on one CPU device nets train one after the other, in the same numbers.
    """
    _fuse_outputs()
    with suppress(RuntimeError):
        _use_cpu_devices(usable_cores())
    _use_compilation_cache(_programs())


def _use_cpu_devices(count: int) -> None:
    import jax

    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or "device_count" in os.environ.get("XLA_FLAGS", "")
    if count > 1 and not chosen:
        jax.config.update("jax_num_cpu_devices", count)


def _fuse_outputs() -> None:
    """Lets XLA compute several outputs in one loop on a CPU, which halves the time of Adam's update; no result changes.

    XLA reads the flag once, as its first device starts; it is none of those that one program alone can be given.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options=xla_cpu_use_multi_output_fusion".strip()


def _programs() -> Path:
    # XLA divides loops among the cores it sees, and its keys do not tell: a step compiled on one core took 350 µs on
    # two, one compiled on two 265 (batch 32).
    return cache_folder() / "xla" / f"{usable_cores()}-cores"


def _use_compilation_cache(folder: Path) -> None:
    """Keeps every compiled program in `folder`, unless the user has named a cache of their own."""
    import warnings

    import jax

    ours = "JAX_COMPILATION_CACHE_DIR" not in os.environ
    if ours:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # no cache: every program is compiled anew
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    show = warnings.showwarning

    def showwarning(message: Warning | str, *details: object, **more: object) -> None:
        # JAX compiles anew when it cannot read an entry, but leaves the entry: all later runs would stumble over it.
        if ours and "Error reading persistent compilation cache entry" in str(message):
            _empty(folder)
        elif not ours or "Error writing persistent compilation cache entry" not in str(message):
            show(message, *details, **more)  # type: ignore[arg-type]

    warnings.showwarning = showwarning


def _empty(folder: Path) -> None:
    for entry in folder.glob("*"):
        with suppress(OSError):  # XLA's own folder for an accelerator; an entry that another run has removed
            entry.unlink()


def describe_devices() -> dict[str, object]:
    """The kind of device, how many there are, and in how many processes."""
    import jax

    devices = jax.devices()
    return {
        "device": devices[0].device_kind if devices[0].platform != "cpu" else f"cpu ({_processor()})",
        "device_count": len(devices),
        "process_count": jax.process_count(),
    }


# What the kernel shows of an accelerator to a program that may use it, and JAX below the ceiling of requirements.txt.
_ACCELERATORS = (
    ("dev/nvidia[0-9]*", "an NVIDIA GPU", "jax[cuda13]<0.12"),
    ("dev/kfd", "an AMD GPU", "jax[rocm7-local]<0.12"),
    ("dev/accel[0-9]*", "a TPU", "jax[tpu]<0.12"),
)


def unused_accelerator(root: Path = Path("/")) -> str:
    """A line on an accelerator of this machine that JAX does not use; '' without one, or where the user chose."""
    import jax

    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return ""
    for pattern, what, package in _ACCELERATORS:
        if any(root.glob(pattern)):
            return f"this machine has {what}, which JAX does not use: pip install -U '{package}', or JAX_PLATFORMS=cpu"
    return ""


def announce(folder: Path) -> None:
    """Says what a run or a sweep runs on, and what it leaves idle."""
    import sys

    found = describe_devices()
    several = f" in {found['process_count']} processes" if found["process_count"] != 1 else ""
    print(f"{folder}: training on {found['device_count']} × {found['device']}{several}")
    if warning := unused_accelerator():
        print(f"warning: {warning}", file=sys.stderr)


def describe() -> dict[str, object]:
    """What a run ran on, for its summary: device, device count, threads, versions."""
    import jax
    import jaxlib
    import numpy

    return {
        **describe_devices(),
        "threads": usable_cores(),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "numpy": numpy.__version__,
        },
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit of the code, with '+' where files differ from it; '' outside a git checkout of it."""
    import subprocess

    def git(*arguments: str) -> str:
        here = Path(__file__).parents[2]
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        # An installed package may stand in somebody else's checkout, in the .venv of it.
        commit = git("rev-parse", "--short=12", "HEAD") if git("ls-files", __file__) else ""
        return f"{commit}+" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""
