"""A submission's train.py and inference.py, run on a slice of data: every flag has an effect, every figure is true."""

import argparse
import contextlib
import io
import itertools
import os
import random
import re
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.check import stand_ins
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.errors import UserError, shown
from mlp_jax.files.workdir import reason
from mlp_jax.runs.exported import as_run, read, read_arrays
from mlp_jax.runs.spelling import canonical

Tell = Callable[[dict[str, Any]], None]

# Our field, its flags in both editions, and whether both ask for it.
FLAGS: tuple[tuple[str, str, bool], ...] = (
    ("dataset", "-d --dataset", True),
    ("num_epochs", "-e --epochs", True),
    ("batch_size", "-b --batch_size", True),
    ("loss", "-l --loss", True),
    ("optimizer", "-o --optimizer", True),
    ("learning_rate", "-lr --learning_rate", True),
    ("momentum", "-m --momentum", False),
    ("beta", "-beta --beta", False),
    ("beta1", "-beta1 --beta1", False),
    ("beta2", "-beta2 --beta2", False),
    ("eps", "-eps --epsilon", False),
    ("weight_decay", "-wd -w_d --weight_decay", True),
    ("init", "-wi -w_i --weight_init", True),
    ("num_layers", "-nhl --num_layers", True),
    ("hidden_size", "-sz --hidden_size", True),
    ("activation", "-a --activation", True),
)
# The words of both editions, each in the spellings that are tried; the last ones may be absent.
WORDS = {
    "dataset": (("mnist",), ("fashion_mnist",)),
    "loss": (("cross_entropy",), ("mean_squared_error", "mse")),
    "optimizer": (("sgd",), ("momentum",), ("nag", "nesterov"), ("rmsprop",), ("adam",), ("nadam",)),
    "init": (("xavier", "Xavier"), ("random",)),
    "activation": (("tanh",), ("sigmoid",), ("relu", "ReLU"), ("identity",)),
}
OPTIONAL = ("adam", "nadam", "identity")
USUAL = {"num_epochs": "1", "batch_size": "16", "learning_rate": "0.05", "weight_decay": "0", "num_layers": "2"}
SMALL = {"learning_rate": "0.002"}  # for optimizers whose step does not shrink with the gradient
# Two values of a number, and what else has to be given for it to count.
NUMBERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "num_epochs": ("1", "3", {}),
    "batch_size": ("16", "64", {}),
    "learning_rate": ("0.05", "0.005", {}),
    "momentum": ("0.5", "0.95", {"optimizer": "momentum"}),
    "beta": ("0.5", "0.95", {"optimizer": "rmsprop", **SMALL}),
    "beta1": ("0.5", "0.95", {"optimizer": "adam", **SMALL}),
    "beta2": ("0.5", "0.95", {"optimizer": "adam", **SMALL}),
    "eps": ("0.000001", "0.1", {"optimizer": "adam", **SMALL}),
    "weight_decay": ("0", "0.5", {}),
    "num_layers": ("2", "3", {}),
    "hidden_size": ("16", "24", {}),
}
# How the widths of hidden layers are written: a list, one for all, or a text.
FORMS: tuple[Callable[[str, int], str], ...] = (
    lambda width, depth: " ".join([width] * depth),
    lambda width, depth: width,
    lambda width, depth: ",".join([width] * depth),
    lambda width, depth: f"[{','.join([width] * depth)}]",
)
_FLOAT = re.compile(r"-?\d+\.\d+(?:[eE][-+]?\d+)?|\bnan\b|\binf\b")


class Ran(NamedTuple):
    """What a run left: the end of its output, its numbers (of weights where it saved some), and why it failed."""

    last: str
    numbers: tuple[Any, ...]
    failure: str = ""
    printed: str = ""


def inside(copy: Path, tell: Tell, train: str, inference: str, model: str) -> None:
    """Tells the findings on train.py, and on inference.py with its model: paths below `copy`, empty where absent."""
    if train:
        for finding in _train(copy, train, tell):
            tell(finding._asdict())
    if inference and model:
        tell({"at": inference})
        for finding in _inference(copy, inference, model):
            tell(finding._asdict())


# ---- running a script in this process


class _Parsed(BaseException):
    """Carries the script's parser out of it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def _run(copy: Path, script: str, argv: Sequence[str], discover: bool = False) -> Ran:
    """The script as `python script argv` from the root of a fresh copy, with seeds and a clock of its own."""
    place = copy.parent / "run"
    os.chdir(copy.parent)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(copy, place)
    os.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.npy")}
    path, printed = place / script, io.StringIO()
    logged: list[object] = []  # by W&B
    openml = any("fetch_openml" in file.read_text(errors="replace") for file in place.rglob("*.py"))
    modules, found = set(sys.modules), list(sys.path)
    stand_ins.install(logged.append, openml)
    clock = itertools.count()
    real = time.time, time.perf_counter, np.random.default_rng, argparse.ArgumentParser.parse_known_args
    random.seed(0)
    np.random.seed(0)
    try:
        time.time = time.perf_counter = lambda: 1e-3 * next(clock)  # figures of speed are the same in every run
        np.random.default_rng = lambda seed=0: real[2](0 if seed is None else seed)
        if discover:
            argparse.ArgumentParser.parse_known_args = _give_away  # type: ignore[method-assign, assignment]
        sys.path.insert(0, str(path.parent))
        sys.argv = [str(path), *argv]
        failure = ""
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                runpy.run_path(str(path), run_name="__main__")
            except _Parsed:
                raise
            except SystemExit as end:
                said = errors.getvalue().strip().splitlines()
                if end.code not in (None, 0):
                    failure = f"ended with {shown(end.code)}" + (f": {said[-1][:160]}" if said else "")
            except BaseException as error:
                failure = f"{type(error).__name__}: {reason(error)[:160]}"  # type: ignore[arg-type]
    finally:
        time.time, time.perf_counter, np.random.default_rng = real[:3]
        argparse.ArgumentParser.parse_known_args = real[3]  # type: ignore[method-assign]
        sys.path[:] = found
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(place)):
                del sys.modules[name]
    text = printed.getvalue()
    lines = [line for line in text.splitlines() if line.strip()]
    return Ran(lines[-1].strip() if lines else "", _numbers(place, before, f"{text} {logged}", argv), failure, text)


def _give_away(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
    raise _Parsed(parser)


def _numbers(place: Path, before: dict[Path, int], text: str, argv: Sequence[str]) -> tuple[Any, ...]:
    """The weights that were saved, as bytes; else the fractional numbers of the text that are no flag's."""
    weights = []
    for path in sorted(place.rglob("*.npy")):
        if before.get(path) != path.stat().st_mtime_ns:
            with contextlib.suppress(UserError):
                weights += [(name, value.shape, value.tobytes()) for name, value in read_arrays(path).items()]
    if weights:
        return tuple(weights)
    given = {float(word) for word in argv if re.fullmatch(r"[\d.]+", word)}
    return tuple(word for word in _FLOAT.findall(text) if float(word) not in given)


# ---- train.py


def _train(copy: Path, script: str, tell: Tell) -> Iterable[Finding]:
    tell({"at": script})
    try:
        ran = _run(copy, script, [], discover=True)
    except _Parsed as parsed:
        options = _options(parsed.parser)
        required = _required(parsed.parser, options)
    else:
        why = ran.failure or "it ended without reading its flags by argparse"
        yield Finding("train.py", FAILED, note=why)
        return
    for field, names, asked in FLAGS:
        if asked and field not in options:
            yield Finding(f"train.py {names.split()[0]}", FAILED, note=f"there is no flag {' or '.join(names.split())}")

    form = FORMS[0]  # which of them it takes is tried

    def run(**changed: str) -> Ran:
        fields = base | changed
        fields["hidden_size"] = form(fields.get("hidden_size", "16"), int(fields.get("num_layers", "1")))
        argv = [*required]
        for field, value in fields.items():
            if field in options:
                argv += [options[field].option_strings[0], *value.split(" ")]
        tell({"at": f"{script} {' '.join(argv)}"})
        return _run(copy, script, argv)

    words = {field: _offered(options[field], field) for field in WORDS if field in options}
    base = {field: next(iter(words[field].values()), "") for field in words} | {
        field: value for field, value in USUAL.items() if field in options
    }
    failures = []
    for taken in FORMS if "hidden_size" in options else FORMS[:1]:
        form = taken
        first = run()
        if not first.failure:
            break
        failures.append(first.failure)
    else:
        of_program = [failure for failure in failures if "error: argument" not in failure]
        yield Finding("train.py", FAILED, note=(of_program or failures)[0])
        return
    yield Finding("train.py", RIGHT, note=f"one epoch; {stand_ins.WHAT}")
    yield _last_line(first.last)
    same = run().numbers == first.numbers
    for field in [field for field, _, _ in FLAGS if field in options]:
        item = f"train.py {options[field].option_strings[0]}"
        if not same or not first.numbers:
            why = "two runs with the same flags and seeds differ" if first.numbers else "no figure is printed or logged"
            yield Finding(item, UNSURE, note=f"{why}, so that no effect can be seen")
        elif field in words:
            yield from _of_words(item, field, words[field], run)
        else:
            yield _of_number(item, field, words.get("optimizer", {}), run)


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    spelt = {name: action for action in parser._actions for name in action.option_strings}
    return {
        field: next(spelt[name] for name in names.split() if name in spelt)
        for field, names, _ in FLAGS
        if any(name in spelt for name in names.split())
    }


def _required(parser: argparse.ArgumentParser, options: dict[str, argparse.Action]) -> list[str]:
    """What else the parser insists on."""
    argv: list[str] = []
    for action in parser._actions:
        if action.required and action not in options.values():
            value = (
                str(next(iter(action.choices))) if action.choices else "1" if action.type in (int, float) else "check"
            )
            argv += [*action.option_strings[:1], value]
    return argv


def _offered(action: argparse.Action, field: str) -> dict[str, str]:
    """Our word for what the flag takes -> theirs; where it names no choices, the assignment's spelling."""
    result = {}
    for spellings in WORDS[field]:
        ours = canonical(field, spellings[0])
        choices = [str(choice) for choice in action.choices or ()]
        theirs = [choice for choice in choices if canonical(field, choice) == ours] if choices else [spellings[0]]
        if theirs:
            result[ours] = theirs[0]
    return result


def _last_line(last: str) -> Finding:
    match = re.search(r"acc\w*\D{0,20}?(\d+(?:\.\d+)?(?:e-\d+)?)\s*(%?)", last, re.IGNORECASE)
    share = float(match[1]) if match else None
    if share is not None and 0 <= share <= 100:
        return Finding("train.py last line", RIGHT, note=f"it says {shown(last[:80])}")
    return Finding("train.py last line", WRONG, expected="an accuracy", found=shown(last[:80]))


def _of_words(item: str, field: str, words: dict[str, str], run: Callable[..., Ran]) -> Iterable[Finding]:
    """Every word runs, and no two give the same."""
    asked = [canonical(field, spellings[0]) for spellings in WORDS[field]]
    missing = [word for word in asked if word not in words and word not in OPTIONAL]
    if missing:
        yield Finding(item, FAILED, note=f"it does not offer {', '.join(missing)}")
        return
    seen: dict[str, Ran] = {}
    for word, theirs in words.items():
        small = SMALL if field == "optimizer" and word in ("rmsprop", "adam", "nadam") else {}
        ran = run(**{field: theirs}, **small)
        if ran.failure:
            if word not in OPTIONAL:
                yield Finding(item, FAILED, note=f"{theirs}: {ran.failure}")
            continue
        twin = next((other for other, its in seen.items() if its.numbers == ran.numbers), None)
        if twin:
            yield Finding(item, WRONG, expected=f"{theirs} differs from {words[twin]}", found="the same numbers")
            return
        seen[word] = ran
    yield Finding(item, RIGHT, note=f"tried: {', '.join(words[word] for word in seen)}")


def _of_number(item: str, field: str, optimizers: dict[str, str], run: Callable[..., Ran]) -> Finding:
    low, high, others = NUMBERS[field]
    if "optimizer" in others:
        if others["optimizer"] not in optimizers:
            return Finding(item, UNSURE, note=f"there is no optimizer {others['optimizer']} to try it with")
        others = {**others, "optimizer": optimizers[others["optimizer"]]}
    ran = []
    for value in (low, high):
        ran.append(run(**{field: value}, **others))
        if ran[-1].failure:
            return Finding(item, FAILED, note=f"{value}: {ran[-1].failure}")
    if ran[0].numbers == ran[1].numbers:
        return Finding(item, WRONG, expected=f"{high} differs from {low}", found="the same numbers: it has no effect")
    return Finding(item, RIGHT, note=f"tried: {low}, {high}")


# ---- inference.py


def _inference(copy: Path, script: str, model: str) -> Iterable[Finding]:
    """Whether the figures that it prints are those of its weights."""
    try:
        network = read(copy / model)
        static, params = as_run(network)
    except UserError:
        return  # said of best_model.npy
    if static.sizes[0] != 784:
        return
    try:
        ran = _run(copy, script, [], discover=True)
    except _Parsed as parsed:
        argv = _required(parsed.parser, {})
        known = {name for action in parsed.parser._actions for name in action.option_strings}
        options = _options(parsed.parser)
        argv += ["--model_path", model] if "--model_path" in known else []
        for field, value in network.config.items():
            if field in options:
                values = value if isinstance(value, list) else [value]
                argv += [options[field].option_strings[0], *map(str, values)]
        ran = _run(copy, script, argv)
    if ran.failure:
        yield Finding(script, FAILED, note=ran.failure)
        return
    found = {name: _figure(name, ran.printed) for name in FIGURES}
    if not any(found.values()):
        yield Finding(script, UNSURE, note="it prints neither accuracy nor precision, recall or F1")
        return
    name = str(network.config.get("dataset", "mnist"))
    test = stand_ins.data(name)[1]
    ways = [figures(static, params, *test, scale) for scale in (255, 1)]
    said = ", ".join(f"{name} {text}" for name, text in found.items() if text)
    for ours in ways:
        if all(_agrees(text, ours[name]) for name, text in found.items() if text):
            yield Finding(script, RIGHT, note=f"on the stand-in: {said}, as its weights give")
            return
    expected = ", ".join(f"{name} {ways[0][name][0]:.4f}" for name, text in found.items() if text)
    why = "not the figures of its weights with pixels in [0, 1] or [0, 255]; are they scaled otherwise?"
    yield Finding(script, UNSURE, expected=expected, found=said, note=why)


FIGURES = {"accuracy": r"acc", "precision": r"prec", "recall": r"recall", "F1": r"f1"}


def figures(static: Any, params: Any, images: np.ndarray, labels: np.ndarray, scale: int) -> dict[str, list[float]]:
    """Accuracy, and precision, recall and F1 as means over the classes and over the examples' classes."""
    from mlp_jax.lanes.evaluation import evaluate_on

    tested = evaluate_on(static, params, images.reshape(len(images), -1), labels, scale)
    scores = tested.scores
    result = {"accuracy": [tested.accuracy]}
    for name, values in (("precision", scores.precision), ("recall", scores.recall), ("F1", scores.f1)):
        result[name] = [float(values.mean()), float(np.average(values, weights=scores.support)), tested.accuracy]
    return result


def _figure(name: str, text: str) -> str:
    """The last number that follows the figure's name, with its sign of a percentage."""
    found = re.findall(rf"{FIGURES[name]}[^\d\n]{{0,30}}?(\d+(?:\.\d+)?[ ]?%?)", text, re.IGNORECASE)
    return str(found[-1]).strip() if found else ""


def _agrees(text: str, ours: Iterable[float]) -> bool:
    digits = text.rstrip("% ")
    unit = 10.0 ** -len(digits.partition(".")[2])
    scales = (100,) if text.endswith("%") else (1, 100)
    return any(abs(float(digits) - scale * value) <= 0.51 * unit for value in ours for scale in scales)
