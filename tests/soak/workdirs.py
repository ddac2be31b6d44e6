"""Damaged and forged workdirs, opened in this process: the undisturbed bits or one line, never other numbers.

    python -m tests.soak.workdirs flips --count=1000       one random bit of one file flipped
    python -m tests.soak.workdirs losses                   each file dropped, emptied, cut; temporary files left
    python -m tests.soak.workdirs restored --count=5000    edited, foreign, forged and broken files

`flips` and `losses` take a finished run, one stopped in its last epoch and one of several seeds, in turn, and start it
again. `restored` resumes, evaluates, predicts from or reports on what a seeded generator has made of them.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")  # fixed, since one process opens workdirs of every kind
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import numpy as np

from mlp_jax import cli as program
from mlp_jax.lanes.compile import Compiler
from mlp_jax.runs import run as experiment
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.soak import runs

SECONDS = 300  # one start may take so long; more is a hang


class Hang(BaseException):
    """A start took longer than `SECONDS`."""


class Killed(BaseException):
    """Stands for kill -9 in the run that is stopped."""


def prepare() -> None:
    """Programs are compiled once in this process, and no picture is drawn."""
    compiler = Compiler()
    experiment.Compiler = lambda: compiler  # type: ignore[misc, assignment]
    from mlp_jax.lanes import population

    population.Compiler = lambda: compiler  # type: ignore[misc, assignment]
    experiment.report.write_run_plots = lambda *_: None  # type: ignore[assignment]

    def ring(number: int, frame: Any) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, ring)


def make_bases(folder: Path) -> dict[str, tuple[Path, list[str], Any]]:
    """name -> (workdir, the arguments that made it, the figures of its undisturbed end)."""
    write_idx_folder(folder / "patterns")
    write_idx_folder(folder / "others", make_arrays(seed=1))
    small = {"dataset": str(folder / "patterns"), "hidden_sizes": (8,), "batch_size": 20, "num_epochs": 3}
    small |= {"checkpoint_seconds": 0.0}
    bases = {}
    for name, fields in (("finished", {}), ("stopped", {}), ("seeds", {"seeds": 2})):
        arguments = [f"--config.{key}={_flag(value)}" for key, value in {**small, **fields}.items()]
        whole = folder / f"whole-{name}"
        status, error = start([*arguments, f"--workdir={whole}"])
        assert status == 0, error
        base = folder / f"base-{name}"
        if name == "stopped":
            with stopped_before_the_test():
                start([*arguments, f"--workdir={base}"])
        else:
            shutil.copytree(whole, base)
        bases[name] = (base, arguments, figures(whole, name))
    return bases


@contextlib.contextmanager
def stopped_before_the_test() -> Iterator[None]:
    load_test = experiment.load_test
    experiment.load_test = lambda *_: (_ for _ in ()).throw(Killed())  # type: ignore[assignment]
    try:
        yield
    finally:
        experiment.load_test = load_test


def _flag(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def figures(folder: Path, name: str) -> dict[str, Any]:
    """What has to be equal: the figures, and the arrays of the newest checkpoint; of several seeds, of each."""
    return {**runs.written_figures(folder), "arrays": arrays(folder, name)}


def arrays(folder: Path, name: str) -> Any:
    if name != "seeds":
        return runs.newest_arrays(folder / "checkpoints")
    return [runs.newest_arrays(path / "checkpoints") for path in sorted((folder / "seeds").iterdir())]


def start(arguments: list[str]) -> tuple[int | str, str]:
    """main.py in this process: its exit status, 'killed', 'hang' or 'crash', and what it wrote to stderr."""
    import jax

    out, error = io.StringIO(), io.StringIO()
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status: int | str = program.main(["main.py", *arguments])
    except Killed:
        status = "killed"
    except Hang:
        status = "hang"
    finally:
        signal.alarm(0)
        jax.config.update("jax_enable_x64", False)
    return ("crash" if "Traceback" in error.getvalue() else status), error.getvalue()


def starts_again(make: Callable[[Path], Path], base: tuple[Path, list[str], Any], name: str, folder: Path) -> str:
    """same, refused, OTHER NUMBERS, hang or crash: what came of the copy of a workdir of which `make` damaged a file.

    Of a file that a resume does not read, which a finished run leaves as it is, only the arrays have to be equal.
    """
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(base[0], copy)
    what = make(copy)
    status, error = start([*base[1], f"--workdir={copy}"])
    if status == 2 and error.splitlines()[-1].startswith("main.py: "):
        return "refused"
    if status != 0:
        return f"{status}: {name} {what}: {error[-2000:]}"
    read = what.suffix == ".npz" or what.name in ("config.json", "data.json")
    try:
        found = figures(copy, name) if read else {"arrays": arrays(copy, name)}
        same = found == {key: base[2][key] for key in found}
    except Exception as problem:
        return f"OTHER NUMBERS: {name} {what}: {problem!r}"
    return "same" if same else f"OTHER NUMBERS: {name} {what}"


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flips(count: int, seed: int, folder: Path) -> Counter:
    """One bit of one file, both drawn uniformly."""
    rng = random.Random(seed)
    bases = make_bases(folder)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        name = list(bases)[number % len(bases)]

        def flip(copy: Path) -> Path:
            path = rng.choice(files_of(copy))
            content = bytearray(path.read_bytes())
            place = rng.randrange(8 * len(content))
            content[place // 8] ^= 1 << place % 8
            path.write_bytes(content)
            return path.relative_to(copy)

        outcomes[starts_again(flip, bases[name], name, folder)] += 1
    return outcomes


def losses(folder: Path) -> Counter:
    """What a power cut leaves: each file dropped, emptied or cut, with temporary files of every writer about."""
    outcomes: Counter[str] = Counter()
    for name, base in make_bases(folder).items():
        for path in [file.relative_to(base[0]) for file in files_of(base[0])]:
            for damage in ("drop", "empty", "cut"):

                def lose(copy: Path, path: Path = path, damage: str = damage) -> Path:
                    content = (copy / path).read_bytes()
                    (copy / path).unlink()
                    if damage != "drop":
                        (copy / path).write_bytes(content[: len(content) // 2 * (damage == "cut")])
                    (copy / "checkpoints").mkdir(exist_ok=True)
                    for left in (".config.json.tmp", ".summary.json.tmp", "checkpoints/.99.npz.tmp"):
                        (copy / left).write_bytes(b'{"half')
                    return path

                outcomes[starts_again(lose, base, name, folder)] += 1
    return outcomes


VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 3, 0.5, 1e308, 10**400, "", "x", "../../x", "adam", "/dev/zero", [], [1], [[1]], {}, {"a": 1},
    "float64", "mse", "a\nb", "\0", "sqlite:////etc/passwd",
)  # fmt: skip
EPOCHS = ("num_epochs", "seeds", "hidden_sizes", "early_stopping")  # may ask for days of training, which is no hang


def edit(value: Any, rng: random.Random) -> None:
    """A member of a JSON value, at any depth, changed, dropped or added."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.7:
            value = value[key]
            continue
        new = rng.choice(VALUES)
        if key in EPOCHS and isinstance(new, int) and new is not True:
            new = min(new, 5)
        if rng.random() < 0.2:
            del value[key]
        else:
            value[key] = new
        return


def edit_json(path: Path, rng: random.Random) -> None:
    """Edits a JSON file; nine times in ten without its sum, else no edit would get past it."""
    value = json.loads(path.read_text())
    if isinstance(value, dict) and rng.random() < 0.9:
        value.pop("sha256", None)
    edit(value, rng)
    path.write_text(json.dumps(value))


def forge(path: Path, rng: random.Random) -> None:
    """Edits what a checkpoint says of itself, or an array, and adds up the sums again, as a forger can too."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    name = rng.choice(("checkpoint.json", *entries))
    if name == "checkpoint.json":
        about = json.loads(entries[name])
        edit(about, rng)
        entries[name] = json.dumps(about).encode()
    else:
        place = rng.randrange(len(entries[name]))
        header = bytearray(entries[name])
        header[min(place, rng.randrange(128))] = rng.randrange(256)
        entries[name] = bytes(header)
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))) as file:
        for name, content in entries.items():
            file.writestr(name, content)


def disturb(copy: Path, others: list[Path], rng: random.Random) -> str:
    """One change of the kinds that a curious or a hostile user makes."""
    files = files_of(copy)
    path = rng.choice(files)
    kind = rng.choice(
        ("edit", "edit", "edit", "forge", "cut", "noise", "drop", "swap", "odd", "deep", "step", "foreign", "pickle")
    )
    try:
        if kind == "edit":
            path = rng.choice([path for path in files if path.suffix == ".json"])
            edit_json(path, rng)
        elif kind == "forge":
            path = rng.choice([path for path in files if path.suffix == ".npz"])
            forge(path, rng)
        elif kind == "cut":
            path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
        elif kind == "noise":
            path.write_bytes(rng.randbytes(rng.choice((0, 1, 100, 5000))))
        elif kind == "drop":
            path.unlink()
        elif kind == "swap":
            shutil.copy(rng.choice(files), path)
        elif kind == "odd":
            path.unlink()
            [path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(copy)][
                rng.randrange(4)
            ]()
        elif kind == "deep":
            path.write_text(rng.choice(("[", '{"a":')) * 100_000)
        elif kind == "step":
            path = rng.choice([path for path in files if path.suffix == ".npz"])
            path.rename(path.with_stem(str(rng.choice((0, 1, 2**31, 10**17)))))
        elif kind == "foreign":
            shutil.rmtree(copy / "checkpoints", ignore_errors=True)
            shutil.copytree(rng.choice(others), copy / "checkpoints")
        elif kind == "pickle":
            path.write_bytes(b"cposix\nsystem\n(S'touch " + str(copy / "EXECUTED").encode() + b"'\ntR.")
    except (OSError, ValueError, LookupError, RecursionError, zipfile.BadZipFile):
        return "nothing"
    return f"{kind} {path.relative_to(copy)}"


def restored(count: int, seed: int, folder: Path) -> Counter:
    """Resume, evaluate, predict or report on workdirs disturbed by one to three changes."""
    bases = make_bases(folder)
    foreign = []
    for number, fields in enumerate(
        ({"hidden_sizes": (5,)}, {"seed": 7}, {"optimizer": "sgd"}, {"precision": "float64"})
    ):
        target = folder / f"foreign-{number}"
        extra = [f"--config.{key}={_flag(value)}" for key, value in fields.items()]
        assert start([*bases["finished"][1], *extra, f"--workdir={target}"])[0] == 0
        foreign.append(target / "checkpoints")
    foreign.append(next((bases["seeds"][0] / "seeds").iterdir()) / "checkpoints")
    np.save(folder / "inputs.npy", np.zeros((2, 36), np.uint8))
    outcomes: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        name = rng.choice(list(bases))
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bases[name][0], copy)
        what = [disturb(copy, foreign, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        mode = rng.choice(("train", "train", "evaluate", "predict", "report"))
        arguments = {"train": [], "predict": [f"--inputs={folder / 'inputs.npy'}"]}.get(mode, [])
        before = sorted(path.name for path in folder.iterdir())
        status, error = start([f"--mode={mode}", *arguments, f"--workdir={copy}"])
        words = f"{number}: {name} {what} {mode}"
        assert not (copy / "EXECUTED").exists(), words
        after = sorted(path.name for path in folder.iterdir())
        if status in (0, 1, 2) and (status == 0 or error.strip().splitlines()[-1].startswith("main.py: ")):
            outcomes[{0: "done", 1: "diverged", 2: "refused"}[status]] += 1  # type: ignore[index]
        else:
            outcomes[f"{status}: {words}: {error[-1500:]}"] += 1
        if before != after:
            outcomes[f"escaped: {words}: {set(after) - set(before)}"] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("flips", "losses", "restored"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    prepare()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        folder = Path(name) / "w"
        folder.mkdir()
        work = {"flips": flips, "restored": restored}.get(options.what)
        outcomes = work(options.count, options.seed, folder) if work else losses(folder)
    good = {"same", "refused", "done", "diverged"}
    result = {
        "what": options.what, "workdirs": outcomes.total(), "seed": options.seed,
        **{name: outcomes[name] for name in sorted(outcomes.keys() & good)},
        "bad": sorted(outcomes.keys() - good),
        "seconds": round(time.monotonic() - begun),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **runs.machine(),
    }  # fmt: skip
    runs.report(result, options.output)
    return 1 if result["bad"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
