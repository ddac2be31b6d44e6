"""Coverage-guided fuzzing (atheris) of what reads users' input: anything but a value or a one-line UserError is a bug.

    pip install -r tests/soak/requirements.txt
    python -m tests.soak.fuzz idx --runs=550000 --folder=/tmp/fuzz
    python -m tests.soak.fuzz overrides|dialect|flags --runs=150000 --folder=/tmp/fuzz

The corpus stays in the folder, so that another call goes on. An input that takes 60 s (some of them a loaded machine's)
or 1 GiB ends the fuzzing too.
"""

import argparse
import gzip
import importlib
import json
import math
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.soak import runs

NUMBERS = ("0", "1", "-1", "0.5", "1e-50", "1e400", "nan", "inf", "4294967296", "2147483648", "9" * 400, "1_0", "٣")
WORDS = (
    *(
        "adam",
        "relu",
        "ReLU",
        "cosine",
        "true",
        "False",
        "()",
        "(128, 64)",
        "[1]",
        "128,x",
        "digits",
        "../..",
        "/dev/zero",
    ),
    *(
        "grid",
        "random",
        "bayes",
        "values",
        "min",
        "max",
        "q",
        "distribution",
        "lr",
        "epochs",
        "optimizer",
        "a\nb",
        "\ud800",
    ),
    *("hyperband", "uniform", "q_log_uniform", "log_uniform_values", "int_uniform", "val_loss", "maximize", "", "\0"),
)


def one_line(work: Callable[[], Any]) -> Any:
    """The result of `work`, or None where it refuses in a single line."""
    from mlp_jax.errors import UserError

    try:
        return work()
    except UserError as error:
        message = str(error)
    if len(message) > 4000:
        raise AssertionError("a message that fills the screen")
    return None


def idx_target(folder: Path) -> Callable[[Any], None]:
    """A file of these bytes, plain or compressed by us, read as images or as labels."""
    from mlp_jax.data import idx

    path = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)) / "input"

    def target(data: Any) -> None:
        how = data.ConsumeIntInRange(0, 11)
        content = data.ConsumeBytes(1 << 12)
        if how & 1:  # a right beginning, so that what follows it is met
            content = struct.pack(">HBB", 0, 8, 1 + 2 * (how >> 1 & 1)) + content
        path.write_bytes(gzip.compress(content, 1, mtime=0) if how >= 8 else content)
        ndim = 1 + 2 * (how >> 1 & 1)
        found = one_line(lambda: idx.decode(path, ndim))
        if found is not None:  # a compressed input may be read either way
            assert content[4 + 4 * ndim :] == found.tobytes() or how < 8

    return target


def overrides_target(folder: Path) -> Callable[[Any], None]:
    """A command line of main.py over the default config or a sweep's."""
    from configs import default, sweep_random
    from mlp_jax import cli
    from mlp_jax.runs import config as configs

    bases = (configs.complete(default.get_config().to_dict()), configs.complete(sweep_random.get_config().to_dict()))
    fields = (*bases[1], "sweep.run_cap", "sweep.method", "sweep.parameters.optimizer", "sweep", "lr", "")

    def target(data: Any) -> None:
        argv = ["main.py"]
        for _ in range(data.ConsumeIntInRange(0, 4)):
            field = pick(data, fields) if data.ConsumeBool() else data.ConsumeUnicode(12)
            form = data.ConsumeIntInRange(0, 5)
            argv += [f"--config.{field}={text(data)}"] if form else [f"--config.{field}", text(data)]
        argv += [text(data) for _ in range(data.ConsumeIntInRange(0, 2))]
        options = one_line(lambda: cli.parse(argv))
        if options is None:
            return
        config = one_line(lambda: configs.override(bases[data.ConsumeBool()], options.overrides))
        if config is None or one_line(lambda: configs.validate(config) or True) is None:
            return
        json.loads(configs.to_json(config))
        assert re.fullmatch(r"[^/]{1,250}", configs.folder_name(config))
        configs.fingerprint(config)
        one_line(lambda: configs.check_resume(bases[0], config, "w"))

    return target


def dialect_target(folder: Path) -> Callable[[Any], None]:
    """A sweep dictionary: rubble in which the dialect's words are common."""
    from configs import default
    from mlp_jax.runs import config as configs
    from mlp_jax.sweeps.dialect import DISTRIBUTIONS, METHODS, SPEC_KEYS, SWEEP_KEYS, parse, to_yaml

    base = configs.complete(default.get_config().to_dict())
    names = (*base, "num_layers", "hidden_size", "lr", "epochs", "layers", "width", "max_epochs", "initializer")

    def junk(data: Any, depth: int = 0) -> Any:
        kind = data.ConsumeIntInRange(0, 9 if depth < 3 else 6)
        if kind < 2:
            return data.ConsumeIntInRange(-5, 200)
        if kind < 4:
            return data.ConsumeRegularFloat() if kind == 2 else data.ConsumeFloat()
        if kind < 6:
            return text(data)
        if kind == 6:
            return pick(data, (None, True, False, 2**31, 2**70, 1e-300, math.inf, ()))
        if kind == 7:
            return [junk(data, depth + 1) for _ in range(data.ConsumeIntInRange(0, 4))]
        keys = (*SPEC_KEYS, *SWEEP_KEYS, *names)
        return {pick(data, keys): junk(data, depth + 1) for _ in range(data.ConsumeIntInRange(0, 4))}

    def spec(data: Any) -> Any:
        form = data.ConsumeIntInRange(0, 3)
        if form == 0:
            return junk(data)
        if form == 1:
            return {"values": [junk(data, 2) for _ in range(data.ConsumeIntInRange(0, 4))]}
        ends = sorted(data.ConsumeFloatInRange(-3, 300) for _ in range(2))
        found: dict[str, Any] = {"min": ends[0], "max": ends[1]}
        if form == 3:
            found = {key: round(value) for key, value in found.items()}
        if data.ConsumeBool():
            found["distribution"] = pick(data, DISTRIBUTIONS)
        if data.ConsumeBool():
            found["q"] = junk(data, 3)
        return found

    def target(data: Any) -> None:
        sweep: Any = {"method": pick(data, METHODS)}
        if data.ConsumeIntInRange(0, 19):
            sweep["parameters"] = {pick(data, names): spec(data) for _ in range(data.ConsumeIntInRange(1, 3))}
            for key in ("run_cap", "metric", "early_terminate", "batch", "report_test", "name"):
                if not data.ConsumeIntInRange(0, 3):
                    sweep[key] = junk(data)
            if not data.ConsumeIntInRange(0, 3):
                hyperband = {key: junk(data, 3) for key in ("min_iter", "max_iter", "s", "eta") if data.ConsumeBool()}
                sweep["early_terminate"] = {"type": "hyperband", **hyperband}
        else:
            sweep = junk(data)
        if not isinstance(sweep, dict):
            return
        space = one_line(lambda: parse(sweep, base, configs.check))
        if space is not None:
            for u in (0.0, 0.5, 0.999):
                params = {field: distribution.draw(u) for field, distribution in space.parameters.items()}
                for field, value in space.overrides(params).items():
                    one_line(lambda field=field, value=value: configs.check(field, value))
            assert to_yaml(space, base, base)

    return target


def flags_target(folder: Path) -> Callable[[Any], None]:
    """A command line of train.py."""
    import train
    from mlp_jax.runs import config as configs

    train.parser = cache(train.parser)  # half of the time of an input
    names = [name for short, long, *_ in train.FLAGS for name in (short, long, long[1:])] + list(train.ALIASES)

    def target(data: Any) -> None:
        argv: list[str] = []
        for _ in range(data.ConsumeIntInRange(0, 5)):
            name = pick(data, names) if data.ConsumeIntInRange(0, 7) else data.ConsumeUnicode(6)
            argv += [f"{name}={text(data)}"] if data.ConsumeBool() else [name, text(data)]
        argv += [text(data) for _ in range(data.ConsumeIntInRange(0, 2))]
        if {"-h", "--help"} & set(argv):
            return  # argparse prints the help and ends the program
        config = one_line(lambda: train.to_config(argv))
        if config is not None:
            json.loads(configs.to_json(config))

    return target


def pick(data: Any, choices: Sequence[Any]) -> Any:
    return choices[data.ConsumeIntInRange(0, len(choices) - 1)]


def text(data: Any) -> str:
    """A number, a word of ours, or anything."""
    kind = data.ConsumeIntInRange(0, 3)
    if kind == 0:
        return str(pick(data, NUMBERS))
    if kind == 1:
        return str(pick(data, WORDS))
    return str(data.ConsumeUnicode(12) if kind == 2 else data.ConsumeFloat())


INSTRUMENTED = [f"mlp_jax.{name}" for name in ("runs.config", "runs.spelling", "sweeps.dialect", "data.idx")]
INSTRUMENTED += ["mlp_jax.sweeps.space", "main", "train"]
TARGETS = {"idx": idx_target, "overrides": overrides_target, "dialect": dialect_target, "flags": flags_target}


def fuzz(name: str, runs_: int, folder: Path, seed: int) -> None:
    """In a process of its own, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = TARGETS[name](folder)
        importlib.import_module("mlp_jax.runs.config").choices()  # imports JAX, which is not to count as a slow input
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    os.chdir(folder)

    def test(content: bytes) -> None:
        target(atheris.FuzzedDataProvider(content))

    arguments = [f"-runs={runs_}", f"-seed={seed}", "-timeout=60", "-rss_limit_mb=1024", "-max_len=1024",
                 f"-artifact_prefix={folder}/", "-print_final_stats=1", str(folder / "corpus")]  # fmt: skip
    atheris.Setup([sys.argv[0], *arguments], test)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=150_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    folder = options.folder.resolve() / options.target
    folder.mkdir(parents=True, exist_ok=True)
    if options.inside:
        fuzz(options.target, options.runs, folder, options.seed)
        return 0
    command = [sys.executable, "-m", "tests.soak.fuzz", *sys.argv[1:], "--inside"]
    start = time.monotonic()
    with open(folder / "log", "w") as log:
        status = subprocess.run(command, cwd=runs.ROOT, stdout=log, stderr=log).returncode
    lines = (folder / "log").read_text(errors="replace").splitlines()
    executed = [int(line.split()[-1]) for line in lines if line.startswith("stat::number_of_executed_units")]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "target": options.target, "inputs": executed[-1] if executed else 0, "failed": status != 0,
        "peak_rss_mb": usage.ru_maxrss // 1024, "seconds": round(time.monotonic() - start),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime), **runs.machine(),
    }  # fmt: skip
    runs.report(result, options.output)
    if status:
        print("\n".join(lines[-40:]), file=sys.stderr)
    return 1 if status else 0


if __name__ == "__main__":
    raise SystemExit(main())
