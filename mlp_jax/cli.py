"""The command line: flags become a config, devices and threads are decided, then the mode's own code runs.

Whatever makes no sense ends in one line on stderr and exit status 2, before anything is written.
"""

import contextlib
import io
import itertools
import json
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict

from mlp_jax import questions
from mlp_jax.errors import Diverged, Interrupted, UserError, not_one_of, redact, shown
from mlp_jax.runs import cluster, defaults, runtime
from mlp_jax.runs import config as configs
from mlp_jax.runs.cluster import ALONE, Joining
from mlp_jax.runs.spelling import own_field
from mlp_jax.sweeps import dialect

MODES = ("train", "evaluate", "predict", "best", "report", "compare", "check", "export", "gradcheck")
# The flags that only some modes read.
READ_BY = {
    "config": ("train", "gradcheck"),
    "workdir": ("train", "evaluate", "predict", "best", "report", "export"),
    "inputs": ("predict", "evaluate", "compare", "check"),
    "output": ("best", "compare", "check", "export"),
    "coordinator": ("train",),
    "num_processes": ("train",),
    "process_id": ("train",),
}
# The config's fields that a mode reads beside what the workdir holds; those that it does not name read all of them.
FIELDS_OF = {
    "evaluate": ("dataset", "data_dir", "evaluate_split"),
    "predict": (),
    "best": ("data_dir", "resume"),
    "report": ("budget",),
    "compare": (),
    "check": ("data_dir", "seed"),
    "export": (),
}


class Options(NamedTuple):
    """A command line, taken apart; what was left out is empty."""

    mode: str
    config: str
    workdir: str
    inputs: tuple[str, ...]
    output: str
    overrides: tuple[tuple[str, str | None], ...]
    joining: Joining = ALONE


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    what = "Python file with get_config(), or a sweep of W&B's in YAML; default configs/default.py"
    flags.DEFINE_string("config", None, what, flag_values=values)
    flags.DEFINE_string("workdir", None, "folder of the run or sweep; default a new one in runs/", flag_values=values)
    flags.DEFINE_string("mode", "train", f"one of {', '.join(MODES)}; default train", flag_values=values)
    what = "predict: pictures, a folder of them, or one .npy array; compare: workdirs; check: files or folders"
    flags.DEFINE_multi_string("inputs", [], what, flag_values=values)
    what = "folder of best's run, of the page of compare or check; export: a file"
    flags.DEFINE_string("output", None, what, flag_values=values)
    met = "several processes: HOST:PORT of process 0, or auto on Slurm, Kubernetes, Open MPI and TPU pods"
    flags.DEFINE_string("coordinator", None, met, flag_values=values)
    flags.DEFINE_integer("num_processes", None, "with --coordinator: how many there are", flag_values=values)
    flags.DEFINE_integer("process_id", None, "with --coordinator: which this is, from 0", flag_values=values)
    flags.DEFINE_boolean("help", False, "this text", short_name="h", flag_values=values)
    values.set_gnu_getopt(True)
    return values


def usage(program: str = "python main.py") -> str:
    """What --help prints."""
    values, newline = _flags(), ";\n"  # what absl adds to a flag that may be repeated stands on a line of its own
    lines = [f"  --{name:14}{values[name].help.partition(newline)[0]}" for name in (*READ_BY, "mode", "help")]
    return "\n".join(
        [
            "Train and study multilayer perceptrons.",
            "",
            f"  {program} --config=configs/adam.py [--workdir=DIR] [--config.FIELD=VALUE …]",
            f"  {program} --workdir=DIR                     go on with a run",
            f"  {program} --mode=evaluate --workdir=DIR     test a saved run",
            f"  {program} --mode=predict --workdir=DIR --inputs=FILE …",
            f"  {program} --mode=best --workdir=SWEEP       train and test its best configuration",
            f"  {program} --mode=compare --inputs=runs/*    runs and sweeps side by side",
            f"  {program} --mode=check --inputs=FILE_OR_FOLDER … [--output=DIR]",
            f"  {program} --mode=export --workdir=DIR --output=best_model.npy",
            "",
            *lines,
            "",
            f"{defaults.__file__} declares every FIELD with its meaning.",
        ]
    )


def parse(argv: list[str]) -> Options | None:
    """The options of `argv` (program name first); None for --help."""
    for token in argv[1:]:
        if token.lstrip("-").partition("=")[0] in ("flagfile", "undefok") and token.startswith("-"):
            raise _unknown_flag(token)  # absl would read files, or let misspelt flags pass
    values = _flags()
    try:
        rest = values(argv, known_only=True)[1:]
    except (flags.Error, ValueError) as error:
        raise UserError(str(error)) from error
    if values["help"].value:
        return None
    overrides, loose = _split(rest)
    mode = values["mode"].value
    if mode not in MODES:
        raise not_one_of("--mode", mode, MODES)
    given: dict[str, Any] = {name: values[name].value for name in READ_BY if values[name].value not in (None, [])}
    for name, value in given.items():
        if mode not in READ_BY[name]:
            raise UserError(f"--{name}: --mode={mode} does not read it; allowed with {', '.join(READ_BY[name])}")
        if not isinstance(value, int) and not all(path.strip() for path in ([value], value)[isinstance(value, list)]):
            raise UserError(f"--{name}: {value!r} is not a path")
    inputs = given.get("inputs", [])
    if loose and not inputs:
        known = "allowed are --FLAG=VALUE and --config.FIELD=VALUE"
        hint = f"did you mean --config={loose[0]}?" if os.path.isfile(loose[0]) else known
        raise UserError(f"argument {loose[0]!r} belongs to no flag; {hint}")
    if mode == "predict" and not inputs:
        raise UserError("--inputs: --mode=predict needs the image files, their folder or the .npy array to classify")
    if mode == "compare" and not inputs:
        raise UserError("--inputs: --mode=compare needs the workdirs of runs and sweeps, such as runs/*")
    if mode == "check" and not inputs:
        raise UserError("--inputs: --mode=check needs the Python files or folders to check")
    if mode == "evaluate" and inputs and (len(inputs) + len(loose) > 1 or "workdir" in given):
        raise UserError("--inputs: --mode=evaluate reads one best_model.npy, or a --workdir; not both, not several")
    if mode == "export" and len({"workdir", "output"} & given.keys()) < 2:
        raise UserError("--output: --mode=export needs --workdir=DIR of a run and --output=best_model.npy")
    texts = {name: given.get(name, "") for name in ("config", "workdir", "output")}
    joining = Joining(**{name: given[name] for name in Joining._fields if name in given})
    return Options(mode, inputs=(*inputs, *loose), overrides=overrides, joining=joining, **texts)


def _split(rest: list[str]) -> tuple[tuple[tuple[str, str | None], ...], list[str]]:
    """The (field, text) pairs of --config.FIELD=TEXT or --config.FIELD TEXT, and the arguments that are no flags."""
    overrides: list[tuple[str, str | None]] = []
    loose: list[str] = []
    tokens = list(reversed(rest))
    while tokens:
        token = tokens.pop()
        if token == "--":
            return tuple(overrides), loose + tokens[::-1]
        if match := re.fullmatch(r"--?config\.([^=]+)(?:=(.*))?", token, re.DOTALL):
            field, text = match.groups()
            if text is None and tokens and re.match(r"[^-]|-[\d.]", tokens[-1]):
                text = tokens.pop()
            overrides.append((field, text))
        elif token.startswith("-") and token != "-":
            raise _unknown_flag(token)
        else:
            loose.append(token)
    return tuple(overrides), loose


def _unknown_flag(token: str) -> UserError:
    name = token.partition("=")[0]
    if field := own_field(name, defaults.get_config()):
        return UserError(f"flag: {shown(name)} is no flag; did you mean --config.{field}?")
    known = [f"--{name}" for name in (*READ_BY, "mode", "help", "config.FIELD")]
    return not_one_of("flag", name, known)


def resolve(options: Options) -> ConfigDict:
    """The checked config that a command line means: of the workdir's run where there is one, of a config file else."""
    stored = Path(options.workdir) / configs.FILE
    resumes = bool(options.workdir) and stored.exists()
    if not resumes and options.mode not in READ_BY["config"]:
        if not options.workdir:
            raise UserError(f"--workdir: --mode={options.mode} needs the folder of what was trained, as --workdir=DIR")
        raise UserError(f"--workdir: {options.workdir!r} holds no run: it has no {configs.FILE}")
    if options.config or not resumes:
        start = configs.load(options.config) if options.config else defaults.get_config()
    else:
        start = configs.from_json(stored)
        start.resume = defaults.get_config().resume  # the stored one was meant for an earlier start
    config = _overridden(options, start)
    given = {configs.own_path(path, config) for path, _ in options.overrides}
    if "edition" in given and "dataset" not in given:
        questions.choose_dataset(config)
    configs.validate(config)
    questions.validate(config)
    if resumes and options.mode == "train" and config.resume != "never":
        configs.check_resume(configs.from_json(stored), config, options.workdir)
    return config


def _overridden(options: Options, start: ConfigDict) -> ConfigDict:
    """`start` with the fields of the command line; UserError for one that the mode does not read."""
    config = configs.override(start, options.overrides)
    read = FIELDS_OF.get(options.mode, tuple(config))
    for field in (configs.own_path(path, config) for path, _ in options.overrides):
        if field.partition(".")[0] not in read:
            allowed = f"; it reads {', '.join(read)}" if read else ", nor any other field"
            raise UserError(f"config field {field!r}: --mode={options.mode} does not read --config.{field}{allowed}")
    return config


@contextlib.contextmanager
def new_workdir(config: ConfigDict, dataset: str) -> Iterator[Path]:
    """A new folder runs/<description>-<date>-<time> of this process alone; one that stays empty is removed.

    `dataset` is what is really trained on.
    """
    name = f"runs/{configs.folder_name(config, dataset)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for path in (Path(name if n == 1 else f"{name}-{n}") for n in itertools.count(1)):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            break
    try:
        yield path
    finally:
        for folder in (path, path.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


def train(config: ConfigDict, workdir: str = "", joining: Joining = ALONE) -> None:
    """Do what the config describes, a set of experiments, a sweep or a run, in `workdir` or in a new folder."""
    cluster.check(joining, bool({"sweep", "experiments"} & set(config)) or config.seeds > 1, workdir)
    runtime.prepare(config, cluster.join(joining))
    kind = "questions.answer_all" if "experiments" in config else "sweeps.sweep" if "sweep" in config else "runs.run"
    module = import_module(f"mlp_jax.{kind}")  # not before it is needed: it imports JAX
    if workdir:
        module.run(config, Path(workdir))
        return
    from mlp_jax.data.datasets import load

    if "sweep" in config:
        dialect.parse(config.sweep.to_dict(), config, configs.check)  # what makes no sense is said before a download
    dataset = load(config.dataset, config.data_dir, config.fallback_dataset)
    with new_workdir(config, dataset.name) as folder:
        module.run(config, folder, dataset)


def dispatch(options: Options) -> int:
    """Do what the options ask for; the exit status."""
    if options.mode in ("compare", "check") or (options.mode == "evaluate" and options.inputs):
        return of_inputs(options)
    config = resolve(options)
    if options.mode == "train":
        train(config, options.workdir, options.joining)
        return 0
    runtime.prepare(config)
    if options.mode == "gradcheck":
        from mlp_jax.gradcheck import report as gradcheck

        text, passed = gradcheck(config)
        print(text)
        return 0 if passed else 1
    workdir = Path(options.workdir)
    if options.mode == "evaluate":
        from mlp_jax.runs.saved import evaluate_saved

        evaluate_saved(config, workdir)
    elif options.mode == "predict":
        from mlp_jax.runs.saved import predict

        predict(config, workdir, options.inputs)
    elif options.mode == "export":
        from mlp_jax.runs.exported import write

        write(workdir, Path(options.output))
    elif options.mode == "best":
        from mlp_jax.sweeps.sweep import best

        best(config, workdir, options.output)
    else:
        report(config, workdir)
    return 0


def of_inputs(options: Options) -> int:
    """Compare, check or evaluate what --inputs names, which needs no workdir; the exit status."""
    config = _overridden(options, defaults.get_config())
    if options.mode != "evaluate":
        from mlp_jax.data.images import matching

        inputs = tuple(path for text in options.inputs for path in matching(text))
    if options.mode == "compare":
        from mlp_jax.reports.compare import compare

        print(compare(inputs, options.output or f"runs/compare-{time.strftime('%Y%m%d-%H%M%S')}"))
        return 0
    runtime.prepare(config)
    if options.mode == "check":
        from mlp_jax.check import marking

        return marking.run(inputs, options.output, config.seed, config.data_dir)
    from mlp_jax.runs import exported

    chosen = any(field == "dataset" for field, _ in options.overrides)
    exported.evaluate(Path(options.inputs[0]), config.data_dir, config.dataset if chosen else "")
    return 0


def report(config: ConfigDict, folder: Path) -> None:
    """report.html of a workdir once more, from its files, a run's or a sweep's with its pictures."""
    from mlp_jax.files.workdir import read_if_there
    from mlp_jax.reports import run as run_report
    from mlp_jax.reports import sweep as sweep_report

    defaults = json.loads(configs.to_json(configs.complete({})))
    try:
        if "experiments" in config:
            from mlp_jax.questions import answer_all

            answer_all.write(config, folder)
        elif "sweep" in config:
            importance = read_if_there(folder / sweep_report.IMPORTANCE)
            sweep_report.write_sweep_plots(folder, importance)
            sweep_report.write_sweep_report(folder, defaults, importance)
        else:
            run_report.write_run_plots(folder)
            run_report.write_run_report(folder, defaults)
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: its files are not as a run or a sweep wrote them: {error!r}") from error
    print(folder / "report.html")


def exit_status(program: str, action: Callable[[], int]) -> int:
    """Run `action`; its exit status, or one line on stderr and 2 (the input), 1 (divergence) or 130 (a signal).

    Any other exception is a bug and shows its traceback. No message shows a password.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a sign shows its number
    message, agreed = "", False
    try:
        status = action()
        agreed = True
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left; nothing more can be said to it
        status = 1
    except (UserError, OSError, MemoryError) as error:
        message, status = str(error) or type(error).__name__, 2
    except Diverged as error:
        message, status, agreed = str(error), 1, True
    except (Interrupted, KeyboardInterrupt) as error:
        message, status, agreed = str(error) or "interrupted", 130, bool(str(error))
    except Exception as error:
        if cluster.is_loss_of_peer(error):
            message, status = cluster.GONE, 1
        elif "RESOURCE_EXHAUSTED" in str(error):
            message, status = f"out of memory: {error}", 2
        else:
            sys.stderr.write(redact(traceback.format_exc()))
            status = 1
    if message:
        print(f"{program}: {redact(' '.join(message.splitlines()))}", file=sys.stderr)
    cluster.leave(status, agreed)
    try:
        sys.stdout.flush()
    except OSError:  # else the interpreter fails once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def main(argv: list[str]) -> int:
    """The exit status of the command line `argv` (program name first)."""

    def action() -> int:
        options = parse(argv)
        if options is None:
            print(usage("mlp-jax" if Path(argv[0]).name == "mlp-jax" else "python main.py"))
            return 0
        return dispatch(options)

    return exit_status(Path(argv[0]).name, action)


def entry() -> int:
    """What `mlp-jax` and `python main.py` run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: an orderly end in one line
    return main(sys.argv)
