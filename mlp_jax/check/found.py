"""What one Python file or folder has in it, checked in this process. Nothing of what it does is raised here."""

import ast
import contextlib
import inspect
import io
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.check import parts, updates
from mlp_jax.check.checks import check_network
from mlp_jax.check.findings import FAILED, UNSURE, Finding, Findings
from mlp_jax.check.loading import Source, import_file, importing, python_files, read
from mlp_jax.check.names import Unclear, derivative_of, function_of, plain
from mlp_jax.check.networks import Classes, Functions, methods_of_loss, one_line

NETWORKS = (
    "neuralnetwork",
    "network",
    "mlp",
    "feedforwardnetwork",
    "feedforwardneuralnetwork",
    "ann",
    "nn",
    "model",
    "net",
)


class _Nowhere(io.TextIOBase):
    """Takes any text and keeps none."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def quiet(seed: int) -> Iterator[None]:
    """No output, no warnings; NumPy's and Python's own random numbers from the seed, and back as they were."""
    states, folder = (np.random.get_state(), random.getstate()), Path.cwd()
    np.random.seed(seed)
    random.seed(seed)
    try:
        with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        os.chdir(folder)


def check_path(path: Path, seed: int = 0) -> Findings:
    """Everything that is found in one Python file or folder, checked. `seed` decides the networks it is tried on.

    What the submission raises becomes a failed finding of one line.
    """
    path = Path(path).resolve()
    found = Findings()
    with quiet(seed), importing(path if path.is_dir() else path.parent):
        sources = []
        for file in python_files(path):
            try:
                sources.append(read(file))
            except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
                found.append(Finding(file.name, FAILED, note=f"cannot be read: {one_line(error)}"))
        try:
            found += _check(path, sources, seed)
        except (Exception, SystemExit) as error:  # nothing of a submission ends the check
            found.append(Finding(path.name, FAILED, note=one_line(error)))
    return found


def _check(path: Path, sources: list[Source], seed: int) -> list[Finding]:
    found: list[Finding] = []
    check: dict[str, Any] = {}
    modules: dict[Path, Any] = {}
    networks = [one for source in sources for one in _networks_of(source)]
    networks.sort(key=lambda one: plain(one[1]) not in NETWORKS)
    skeleton = networks[0] if networks else None
    for source in sources:
        wanted = _wanted(source)
        if not wanted and "CHECK" not in source.names:
            continue
        try:
            modules[source.path] = import_file(source.path, path)
        except (Exception, SystemExit) as error:
            found.append(Finding(source.path.name, FAILED, note=f"does not import: {one_line(error)}"))
            continue
        if "CHECK" in source.names and isinstance(modules[source.path].CHECK, dict):
            check |= modules[source.path].CHECK
    functions, classes, losses, derivatives, orders = _collect(sources, modules, check)
    if skeleton and skeleton[0].path in modules:
        make = getattr(modules[skeleton[0].path], skeleton[1], None)
        found += _class_findings(make, skeleton, sources, losses, check, seed)
    forward, gradients = functions.get("forward"), functions.get("gradients")
    used: list[str] = []
    if forward or gradients:
        try:
            network = Functions(forward, gradients, losses, functions, orders, check)
            found += check_network(network, seed)
            found += parts.decay_findings(network, seed)
            used = ["cross_entropy", "mse"]
        except Unclear as unclear:
            found.append(Finding("network", UNSURE, note=str(unclear)))
        except (Exception, SystemExit) as error:
            found.append(Finding("network", FAILED, note=one_line(error)))
    if not skeleton and not used:
        found += _losses_alone(losses)
    for name in ("update", *updates.USES):
        if name in functions:
            found += updates.function_findings(name, functions[name], orders.get(name, ()), seed)
        elif name in classes and not skeleton:
            found += updates.class_findings(name, classes[name], seed)
    items = {one.item for one in found}
    found += parts.by_name(functions, check, [name for name in functions if f"init {name}" in items])
    for name, fn in derivatives.items():
        found += parts.derivative_findings(name, fn)
    return found


def _networks_of(source: Source) -> list[tuple[Source, str]]:
    """The classes of a file with a forward and a backward pass of a whole network."""
    return [
        (source, name) for name, methods in source.classes.items() if plain(name) in NETWORKS and "forward" in methods
    ] or [
        (source, name)
        for name, methods in source.classes.items()
        if {"forward", "backward"} <= set(methods) and {"get_weights", "update_weights", "set_weights"} & set(methods)
    ]


def _wanted(source: Source) -> list[str]:
    """The names of a file that the checks know."""
    functions = [name for name in source.functions if function_of(name) or derivative_of(name)]
    classes = [name for name in source.classes if function_of(name) or plain(name) in NETWORKS]
    # A class of losses by another name: it has a method of one, and a file that says so.
    return functions + classes + [name for _, name in _networks_of(source)]


def _collect(sources: list[Source], modules: dict[Path, Any], check: dict[str, Any]) -> tuple[Any, ...]:
    """Plain functions and classes by our names: those that CHECK names first, then those of usual names."""
    functions: dict[str, Callable[..., Any]] = {}
    classes: dict[str, Any] = {}
    losses: dict[str, list[Callable[..., Any]]] = {}
    derivatives: dict[str, Callable[..., Any]] = {}
    orders: dict[str, list[str]] = {}
    for word, theirs in check.items():
        said = re.match(r"^\s*(\w+)\s*(?:\(([^)]*)\))?\s*$", theirs) if isinstance(theirs, str) else None
        for module in modules.values():
            fn = getattr(module, said[1], None) if said else None
            if callable(fn):
                functions[word] = fn
                if said and said[2]:
                    orders[word] = [role.strip() for role in said[2].split(",")]
    for source in sources:
        module = modules.get(source.path)
        if module is None:
            continue
        for name in source.functions:
            fn, ours = getattr(module, name, None), function_of(name)
            if not callable(fn):
                continue
            other = derivative_of(name)
            if ours in ("cross_entropy", "mse"):
                losses.setdefault(ours, []).append(fn)
            elif ours:
                functions.setdefault(ours, fn)
            elif other and other not in ("softmax", "cross_entropy", "mse"):
                derivatives.setdefault(other, fn)
        for name in source.classes:
            made, ours = getattr(module, name, None), function_of(name)
            if not inspect.isclass(made) or ours is None:
                continue
            if ours in ("cross_entropy", "mse"):
                with contextlib.suppress(Exception):
                    losses.setdefault(ours, []).extend(methods_of_loss(made()))
            elif ours in updates.USES:
                classes.setdefault(ours, made)
    return functions, classes, losses, derivatives, orders


def _class_findings(
    make: Any, skeleton: tuple[Source, str], sources: list[Source], losses: Any, check: dict[str, Any], seed: int
) -> list[Finding]:
    _source, name = skeleton
    missing = [method for method in ("forward", "backward") if not callable(getattr(make, method, None))]
    found = [Finding(f"{name}.{method}", FAILED, note=f"the class has no {method}") for method in missing]
    if "forward" in missing:
        return found
    try:
        network = Classes(make, _strings(sources), losses, check=check)
    except Unclear as unclear:
        return [*found, Finding(name, UNSURE, note=str(unclear))]
    except (Exception, SystemExit) as error:
        return [*found, Finding(name, FAILED, note=f"cannot be made: {one_line(error)}")]
    return [*found, *network_findings(network, seed, "backward" in missing)]


def network_findings(network: Classes, seed: int = 0, forward_alone: bool = False) -> list[Finding]:
    """All that is checked of the skeleton's class; each part by itself, so that one that fails leaves the others."""
    found: list[Finding] = []
    tasks: list[Callable[[], list[Finding]]] = [lambda: check_network(network, seed)]
    if not forward_alone and network._make is not None:
        tasks.append(lambda: _weights_findings(network))
        tasks.append(lambda: updates.network_findings(network, seed))
        if any(re.search("weight_?decay|^wd$|l2", text, re.I) for text in network.strings):
            tasks.append(lambda: parts.decay_findings(network, seed))
        tasks.append(lambda: parts.network_init_findings(network))
    for task in tasks:
        try:
            found += task()
        except (Exception, SystemExit) as error:
            found.append(Finding("network", FAILED, note=one_line(error)))
    return found


def _weights_findings(network: Classes) -> list[Finding]:
    """set_weights and get_weights, there and back."""
    one = network.build((5, 4), network.activations[0], network.losses[0])
    if not callable(getattr(one, "get_weights", None)) or not callable(getattr(one, "set_weights", None)):
        return []
    where = "backpropagation#notation"
    try:
        kept = one.get_weights()
        if not isinstance(kept, dict) or set(kept) != {f"{part}{i}" for i in range(3) for part in "Wb"}:
            note = "get_weights gives no dictionary of W0, b0 … W2, b2"
            return [Finding("get_weights, set_weights", "wrong", note=note, equation=where)]
        doubled = {key: np.array(value) * 2 + 1 for key, value in kept.items()}
        one.set_weights({key: value.copy() for key, value in doubled.items()})
        again = one.get_weights()
        same = all(np.array_equal(again[key], doubled[key]) for key in doubled)
    except Exception as error:
        return [Finding("get_weights, set_weights", FAILED, note=one_line(error), equation=where)]
    note = "" if same else "what was set is not what is got"
    return [Finding("get_weights, set_weights", "right" if same else "wrong", note=note, equation=where)]


def _strings(sources: list[Source]) -> frozenset[str]:
    """Every short text and every name in the sources: which spellings they know."""
    found: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.path.read_text(encoding="utf-8-sig"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
                found.add(node.value)
            elif isinstance(node, ast.Attribute) and "decay" in node.attr:
                found.add(node.attr)
    return frozenset(found)


def _losses_alone(losses: dict[str, list[Callable[..., Any]]]) -> list[Finding]:
    """Losses without a network."""
    from mlp_jax.check.checks import check_loss

    class _Alone:
        said: dict[str, str] = {}  # noqa: RUF012
        classes = 10

        def loss_functions(self, loss: str) -> list[Callable[..., Any]]:
            return losses.get(loss, [])

    found: list[Finding] = []
    takes = ""
    for loss in ("cross_entropy", "mse"):
        said, understood = check_loss(_Alone(), loss, takes)  # type: ignore[arg-type]
        takes = takes or (understood.takes if understood and understood.convention else "")
        found += said
    return found
