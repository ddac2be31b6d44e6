"""The checks of optimizers: fifty updates by given gradients, of every size, beside ours."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from mlp_jax.check import reference as ours
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.check.judge import FLOAT32_TO, RIGHT_TO, Judgement, Tensors, judge
from mlp_jax.check.mistakes import Lines, of_family
from mlp_jax.check.names import ARGUMENTS, OPTIMIZER_SPELLINGS, Misfit, Unclear, call, parameters_of, plain, roles_of
from mlp_jax.check.networks import Classes, arrays_in, case, one_line
from mlp_jax.check.reference import Numbers

Array = np.ndarray
Paths = list[Array]  # of every tensor its displacement after each update

UPDATES = 50
# m/(1−β1^t)·√(1−β2^t)/(√v + ε): the order at the end of Kingma & Ba's section 2, and TensorFlow's. A convention.
EPS_FIRST: Lines = {"root": lambda v, eps, c: np.sqrt(v) + eps / np.sqrt(c)}
EPS_FIRST_SAID = "ε is added before the correction, as TensorFlow does; we add it after"
NUMBERS = Numbers(learning_rate=0.01, eps=1e-6)  # where a function takes them
RATES, EPSILONS = (0.01, 0.001, 0.1), (1e-8, 1e-7, 1e-6, 1e-10, 1e-5, 1e-9, 1e-12, 1e-3)
BETAS = ((0.9, 0.999), (0.9, 0.99), (0.95, 0.999))
# role -> the field of Numbers
FIELDS = {
    "learning_rate": "learning_rate",
    "momentum_number": "momentum",
    "beta": "beta",
    "beta1": "beta1",
    "beta2": "beta2",
    "eps": "eps",
}
USES = {
    "sgd": ("learning_rate",),
    "momentum": ("learning_rate", "momentum_number"),
    "nesterov": ("learning_rate", "momentum_number"),
    "rmsprop": ("learning_rate", "beta", "eps"),
    "adam": ("learning_rate", "beta1", "beta2", "eps"),
    "nadam": ("learning_rate", "beta1", "beta2", "eps"),
}


def given(shapes: Sequence[tuple[int, ...]], seed: int) -> tuple[list[Array], list[list[Array]]]:
    """Parameters, and gradients of fifty updates: from 1e-9 to 3 in size, and one entry that is always zero.

    So small ones show where ε stands, and whether it is there.
    """
    rng = np.random.default_rng((seed, len(shapes)))
    start, sizes = [], []
    for shape in shapes:
        size = 10.0 ** rng.uniform(-9, 0.5, size=shape)
        size.reshape(-1)[0] = 0
        sizes.append(size)
        start.append(rng.normal(size=shape) * 0.1 * size)
    return start, [[size * (rng.normal(size=size.shape) + 0.5) for size in sizes] for _ in range(UPDATES)]


def candidates(name: str, known: dict[str, float], defaults: Numbers | None = None) -> Iterator[Numbers]:
    """The numbers that an optimizer may have, the likeliest first: known ones, and usual ones for the others."""
    base = (defaults or Numbers())._replace(**known)
    yield base
    uses = [FIELDS[role] for role in USES[name]]
    rates = [base.learning_rate] if "learning_rate" in known else RATES
    epsilons = [base.eps] if "eps" in known or "eps" not in uses else EPSILONS
    decays = [base.beta] if "beta" in known or "beta" not in uses else (0.9, 0.99, 0.999, 0.5)
    moments = [(base.beta1, base.beta2)] if {"beta1", "beta2"} & set(known) or "beta1" not in uses else BETAS
    masses = [base.momentum] if "momentum" in known or "momentum" not in uses else (0.9, 0.5, 0.99)
    for rate, eps, beta, (b1, b2), mass in product(rates, epsilons, decays, moments, masses):
        numbers = Numbers(rate, mass, beta, b1, b2, eps)
        if numbers != base:
            yield numbers


def judge_path(
    name: str, paths: Paths, start: Sequence[Array], grads: Sequence[Sequence[Array]], options: Sequence[Numbers]
) -> tuple[Judgement, Numbers]:
    """The displacements beside ours, with each of the numbers that may have been meant."""
    n, known = len(start), of_family("optimizer", what=name)
    if n == 1:
        known.pop("t_by_tensor", None)
    found = [{"": path.reshape(len(path), -1)} for path in paths]
    tolerance = FLOAT32_TO if any(path.dtype == np.float32 for path in paths) else RIGHT_TO
    steps = [np.array([g[i] for g in grads]) for i in range(n)]

    def predicting(numbers: Numbers) -> Callable[[int, Lines], Tensors]:
        def predict(index: int, lines: Lines) -> Tensors:
            path = ours.path(name, start[index], steps[index], numbers, ours.Step(**lines), (index, n))
            return {"": (path - start[index])[: len(paths[index])].reshape(len(paths[index]), -1)}

        return predict

    for numbers, base in product(options, ({}, EPS_FIRST) if name in ("adam", "nadam") else ({},)):
        result = judge(found, predicting(numbers), {}, base, True, tolerance, False)
        if result.right:
            return result._replace(pattern=EPS_FIRST_SAID if base else ""), numbers
    singles: list[tuple[Judgement, Numbers]] = []
    for numbers in options:
        result = judge(found, predicting(numbers), known, {}, True, tolerance, False)
        if result.names or result.others:
            singles.append((result, numbers))
            break
    if singles:
        return singles[0]
    return judge(found, predicting(options[0]), known, {}, True, tolerance), options[0]


def first_off(name: str, paths: Paths, start: Sequence[Array], grads: Any, numbers: Numbers) -> str:
    """From which update on the paths differ."""
    for index, path in enumerate(paths):
        steps = np.array([g[index] for g in grads])
        right = ours.path(name, start[index], steps, numbers, None, (index, len(start))) - start[index]
        scale = np.max(np.abs(right), axis=0)
        with np.errstate(all="ignore"):
            off = ~(np.abs(path.reshape(right.shape) - right) <= 1e-6 * scale)
        late = np.flatnonzero(off.reshape(len(off), -1).any(axis=1))
        if len(late):
            return f"from update {late[0] + 1}"
    return ""


def report(
    name: str, paths: Paths, start: Sequence[Array], grads: Any, options: Sequence[Numbers], note: str = ""
) -> Finding:
    """The finding of one optimizer."""
    judged, numbers = judge_path(name, paths, start, grads, options)
    used = ", ".join(f"{FIELDS[role]} {getattr(numbers, FIELDS[role]):g}" for role in USES[name])
    where = f"optimizers#{name}"
    if judged.right:
        said = "; ".join(filter(None, (used, judged.pattern, note)))
        return Finding(name, RIGHT, error=judged.error, note=said, equation=where)
    from mlp_jax.check.checks import named

    said = named(judged.others) if judged.others else "" if judged.names else "wrong, no known mistake"
    if not judged.names and not judged.others:
        said += f": {judged.pattern}" if judged.pattern and "off by" not in judged.pattern else ""
    return Finding(
        name,
        WRONG,
        where=first_off(name, paths, start, grads, numbers),
        error=judged.error,
        mistakes=judged.names,
        note="; ".join(filter(None, (said, note))),
        equation=where,
    )


# --------------------------------------------------------------------------------------------------- plain functions

_ROLES = ("w", "g", "state", "step", "optimizer", "decay", "network")
STATES: tuple[Callable[[Array], Any], ...] = (
    lambda w: None,
    lambda w: {},
    lambda w: {key: np.zeros_like(w) for key in ("m", "v", "u", "s", "cache", "velocity")} | {"t": 0},
    np.zeros_like,
    lambda w: (np.zeros_like(w), np.zeros_like(w)),
)


def function_findings(name: str, fn: Callable[..., Any], order: Sequence[str] = (), seed: int = 0) -> list[Finding]:
    """The findings of `update(w, g, state, t, …)` or of a function with an optimizer's own name."""
    (start,), grads = given([(3, 4)], seed)
    names = [name] if name in USES else list(USES)
    roles = roles_of(fn, _ROLES, order)
    if "network" in roles and "g" not in roles:
        return [_of_network(fn, one, seed) for one in names] if name in USES else []
    if name not in USES and "optimizer" not in roles:
        return [_best_of(fn, names, order, start, grads)]
    found = []
    for one in names:
        outcomes = []
        for spelling in _known_spellings(fn, one):
            try:
                path, known = _run(fn, one, spelling, order, start, grads)
            except Unclear as unclear:
                outcomes.append(Finding(one, UNSURE, note=str(unclear), equation=f"optimizers#{one}"))
                break
            except Exception as error:
                outcomes.append(Finding(one, FAILED, note=one_line(error), equation=f"optimizers#{one}"))
                continue
            options = list(candidates(one, known, _defaults(fn)))
            outcomes.append(report(one, [path], [start], grads, options))
            if "optimizer" not in roles:
                break
        outcomes.sort(key=lambda finding: (RIGHT, WRONG, UNSURE, FAILED).index(finding.verdict))
        if "optimizer" in roles and outcomes[0].verdict == FAILED:
            continue  # a name that it does not know
        found.append(outcomes[0])
    return found


def _known_spellings(fn: Callable[..., Any], name: str) -> Sequence[str]:
    """The spellings of an optimizer that the source has as a text; all of them where there is no source."""
    try:
        source = inspect.getsource(inspect.getmodule(fn) or fn)
    except (OSError, TypeError):
        return OPTIMIZER_SPELLINGS[name]
    found = [spelling for spelling in OPTIMIZER_SPELLINGS[name] if re.search(rf"[\"']{spelling}[\"']", source)]
    return found or OPTIMIZER_SPELLINGS[name]


def _of_network(fn: Callable[..., Any], name: str, seed: int) -> Finding:
    """A function of a network with layers: momentum(nn, lr, beta, velocity), which may return its state."""
    start, grads = given([(4, 3), (3,), (3, 2), (2,)], seed)
    roles = roles_of(fn, ("network", "step", "decay", *USES[name]))
    moments = [
        p.name for p in parameters_of(fn) if p.name not in roles.values() and plain(p.name) in ARGUMENTS["moment"]
    ]
    numbers = {role: getattr(NUMBERS, FIELDS[role]) for role in USES[name]}
    kept: dict[str, Any] = dict.fromkeys(moments)
    t = 0

    class _Once:
        def step(self, layers: Any) -> None:
            nonlocal t
            t += 1
            values = {"network": layers, "step": t, "decay": 0.0, **numbers, **kept}
            result = call(fn, roles | {m: m for m in moments}, values, name)
            parts = result if isinstance(result, tuple) else (result,)
            kept.update({m: part for m, part in zip(moments, parts, strict=False) if part is not None})

    try:
        paths = _by_layers(_Once(), start, grads)
    except Unclear as unclear:
        return Finding(name, UNSURE, note=str(unclear), equation=f"optimizers#{name}")
    except Exception as error:
        return Finding(name, UNSURE, note=f"could not be tried: {one_line(error)}", equation=f"optimizers#{name}")
    known = {FIELDS[role]: getattr(NUMBERS, FIELDS[role]) for role in USES[name] if role in roles}
    return report(name, paths, start, grads, list(candidates(name, known)))


def _best_of(fn: Callable[..., Any], names: Sequence[str], order: Sequence[str], start: Array, grads: Any) -> Finding:
    """An `update` that does not say which optimizer it is: the one whose numbers it gives."""
    tried = []
    for one in names:
        try:
            path, known = _run(fn, one, "", order, start, grads)
        except Unclear as unclear:
            return Finding("update", UNSURE, note=str(unclear), equation="optimizers#sgd")
        except Exception as error:
            tried.append(Finding("update", FAILED, note=one_line(error), equation=f"optimizers#{one}"))
            continue
        tried.append(report(one, [path], [start], grads, list(candidates(one, known, _defaults(fn)))))
    tried.sort(key=lambda f: ((RIGHT, WRONG, UNSURE, FAILED).index(f.verdict), not f.mistakes))
    best = tried[0]
    alike = {f.item for f in tried if f.verdict == WRONG and f.mistakes}
    if best.verdict == RIGHT or len(alike) == 1:
        return best._replace(item=f"update ({best.item})")
    if best.verdict == FAILED:
        return best
    note = "none of ours; say which it is meant to be: CHECK = {'adam': 'update'}"
    return Finding("update", UNSURE, error=best.error, note=note, equation="optimizers#sgd")


def _defaults(fn: Callable[..., Any]) -> Numbers:
    return Numbers()


def _run(
    fn: Callable[..., Any], name: str, spelling: str, order: Sequence[str], start: Array, grads: Any
) -> tuple[Array, dict[str, float]]:
    """The displacement after each update, and the numbers that it was given."""
    roles = roles_of(fn, (*_ROLES, *USES[name]), order)
    if "optimizer" in roles:  # one function for all: it takes the numbers of all
        roles = roles_of(fn, (*_ROLES, *FIELDS), order)
    moments = [
        parameter.name
        for parameter in parameters_of(fn)
        if parameter.name not in roles.values() and plain(parameter.name) in ARGUMENTS["moment"]
    ]
    if "state" in roles and plain(roles["state"]) in ARGUMENTS["moment"]:
        moments.append(roles.pop("state"))
    known = {FIELDS[role]: getattr(NUMBERS, FIELDS[role]) for role in USES[name] if role in roles}
    numbers = {role: getattr(NUMBERS, field) for role, field in FIELDS.items()}
    error: Exception | None = None
    for make, wrap in product(STATES if "state" in roles else STATES[:1], (False, True)):
        try:
            return _updates(fn, spelling, roles, moments, numbers, make, wrap, start, grads), known
        except Unclear:
            raise
        except Exception as raised:
            error = error or raised
    assert error
    raise error


def _updates(
    fn: Callable[..., Any],
    spelling: str,
    roles: dict[str, str],
    moments: list[str],
    numbers: dict[str, float],
    make: Callable[[Array], Any],
    wrap: bool,
    start: Array,
    grads: Any,
) -> Array:
    w, state, path = start.copy(), make(start), []
    kept: dict[str, Any] = {name: np.zeros_like(start) for name in moments}
    roles = roles | {name: name for name in moments}
    for t, (g,) in enumerate(grads, 1):
        values = {
            "w": w,
            "g": g.copy(),
            "state": state,
            "step": t,
            "optimizer": spelling,
            "decay": 0.0,
            **numbers,
            **kept,
        }
        if wrap:
            values |= {"w": [w], "g": [g.copy()], "state": [state] if isinstance(state, np.ndarray) else state}
            values |= {name: [kept[name]] for name in moments}
        with np.errstate(all="ignore"):
            result = call(fn, roles, values, "update")
        if result is None:  # in place
            w = np.array(values["w"][0] if wrap else values["w"])
        else:
            parts = list(result) if isinstance(result, tuple) else [result]
            parts = [part[0] if wrap and isinstance(part, list) else part for part in parts]
            w = np.asarray(parts[0])
            if w.shape != start.shape:
                raise Misfit(f"update gives an array of shape {w.shape} where {start.shape} was expected")
            kept |= dict(zip(moments, parts[1:], strict=False))
            if "state" in roles and len(parts) > 1:
                state = parts[1] if len(parts) == 2 else tuple(parts[1:])
        path.append(w - start)
        w = w.copy()
    return np.array(path)


# ----------------------------------------------------------------------------------------------- classes of optimizers


class _Stack(list[Any]):
    """Layers, also as a network that has them."""

    @property
    def layers(self) -> Any:
        return self


class _Layer:
    """A layer as the skeleton has it."""

    def __init__(self, w: Array, b: Array):
        self.W, self.b = w, b
        self.grad_W, self.grad_b = np.zeros_like(w), np.zeros_like(b)
        self.grad_w, self.dW, self.db = self.grad_W, self.grad_W, self.grad_b


def attributes(optimizer: Any, name: str) -> dict[str, float]:
    """The numbers that an optimizer object keeps."""
    known: dict[str, float] = {}
    for exact in (True, False):
        for attribute, value in vars(optimizer).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            word = plain(attribute)
            for role in USES[name]:
                if FIELDS[role] not in known and (word == plain(role) if exact else word in ARGUMENTS[role]):
                    known[FIELDS[role]] = float(value)
                    break
    return known


def class_findings(name: str, make: Callable[..., Any], seed: int = 0) -> list[Finding]:
    """The findings of a class with an optimizer's name: step(layers), update(w, g) or update(params, grads)."""
    start, grads = given([(4, 3), (3,), (3, 2), (2,)], seed)
    numbers = {role: getattr(NUMBERS, FIELDS[role]) for role in USES[name]}
    error: Exception | None = None
    for way in (_by_layers, _by_lists, _by_array):
        try:
            roles = roles_of(make, USES[name])
            optimizer = call(make, roles, numbers, name)
            known = attributes(optimizer, name) | {
                FIELDS[r]: getattr(NUMBERS, FIELDS[r]) for r in USES[name] if r in roles
            }
            paths = way(optimizer, [w.copy() for w in start], grads)
        except Unclear as unclear:
            return [Finding(name, UNSURE, note=str(unclear), equation=f"optimizers#{name}")]
        except Exception as raised:
            error = raised if error is None or not isinstance(raised, TypeError) else error
            continue
        if looks_ahead(optimizer) and name == "nesterov":
            return [_ahead_elsewhere(name, paths, start, grads, known)]
        return [report(name, paths, start[: len(paths)], grads, list(candidates(name, known)))]
    assert error
    return [Finding(name, FAILED, note=one_line(error), equation=f"optimizers#{name}")]


def _stepping(optimizer: Any) -> Callable[..., Any]:
    for name in ("step", "update", "update_weights", "apply", "apply_gradients", "update_params", "__call__"):
        method = getattr(optimizer, name, None)
        if callable(method) and (name != "__call__" or inspect.ismethod(method)):
            return method
    raise TypeError("it has no step or update")


def _needed(fn: Callable[..., Any]) -> list[str]:
    return [p.name for p in parameters_of(fn) if p.default is inspect.Parameter.empty]


def _by_layers(optimizer: Any, start: list[Array], grads: Any) -> Paths:
    step = _stepping(optimizer)
    if len(_needed(step)) != 1:
        raise TypeError("it takes more than layers")
    layers = _Stack(_Layer(start[i].copy(), start[i + 1].copy()) for i in range(0, len(start), 2))
    rows: list[list[Array]] = [[] for _ in start]
    for g in grads:
        for i, layer in enumerate(layers):
            layer.grad_W, layer.grad_b = g[2 * i].copy(), g[2 * i + 1].copy()
            layer.grad_w, layer.dW, layer.db = layer.grad_W, layer.grad_W, layer.grad_b
        step(layers)
        for i, layer in enumerate(layers):
            rows[2 * i].append(layer.W - start[2 * i])
            rows[2 * i + 1].append(layer.b - start[2 * i + 1])
    if not any(np.any(row) for row in rows):
        raise TypeError("it moves nothing")
    return [np.array(row) for row in rows]


def _by_lists(optimizer: Any, start: list[Array], grads: Any) -> Paths:
    step, params = _stepping(optimizer), [w.copy() for w in start]
    rows: list[list[Array]] = [[] for _ in start]
    for g in grads:
        result = step(params, [part.copy() for part in g])
        if isinstance(result, list | tuple) and len(result) == len(start):
            params = list(result)
        for row, w, origin in zip(rows, params, start, strict=True):
            if np.shape(w) != origin.shape:
                raise TypeError("it takes no lists")
            row.append(np.array(w) - origin)
    if not any(np.any(row) for row in rows):
        raise TypeError("it moves nothing")
    return [np.array(row) for row in rows]


def _by_array(optimizer: Any, start: list[Array], grads: Any) -> Paths:
    step, w, row = _stepping(optimizer), start[0].copy(), []
    for g in grads:
        result = step(w, g[0].copy())
        w = w if result is None else np.asarray(result[0] if isinstance(result, tuple) else result)
        if w.shape != start[0].shape:
            raise TypeError("it takes no array")
        row.append(w - start[0])
        w = w.copy()
    return [np.array(row)]


def looks_ahead(*things: Any) -> bool:
    """Whether an object has a method for the look-ahead, which its training loop calls around the gradient."""
    return any("lookahead" in plain(name) or "ahead" in plain(name) for thing in things for name in dir(thing))


def _ahead_elsewhere(name: str, paths: Paths, start: Any, grads: Any, known: dict[str, float]) -> Finding:
    one = report(name, paths, start[: len(paths)], grads, list(candidates(name, known)))
    if one.mistakes != ("nesterov_is_momentum",):
        return one
    note = "the look-ahead is taken around the gradient, in the training loop; the update by itself is momentum's"
    return one._replace(verdict=UNSURE, mistakes=(), where="", note=note)


# ------------------------------------------------------------------------------------------------ the skeleton's class


def network_findings(network: Classes, seed: int = 0) -> list[Finding]:
    """The optimizers that the skeleton's class is made with: set weights, set gradients, update, get weights."""
    found = []
    for name, spellings in OPTIMIZER_SPELLINGS.items():
        spelled = network._spellings(OPTIMIZER_SPELLINGS, name)
        if not spelled and not (name == "sgd" and not network.strings):
            continue
        outcomes = []
        for spelling in spelled or spellings:
            network._spelled[id(OPTIMIZER_SPELLINGS), name] = spelling
            try:
                network.build((5, 4), network.activations[0], network.losses[0], optimizer=name)
            except Exception:
                continue  # it knows no such optimizer
            try:
                outcomes.append(_network_optimizer(network, name, seed))
            except Unclear as unclear:
                outcomes.append(Finding(name, UNSURE, note=str(unclear), equation=f"optimizers#{name}"))
            except Exception as error:
                outcomes.append(Finding(name, FAILED, note=one_line(error), equation=f"optimizers#{name}"))
            if outcomes[-1].verdict == RIGHT:
                break
        outcomes.sort(key=lambda one: (RIGHT, WRONG, UNSURE, FAILED).index(one.verdict))
        found += outcomes[:1]
    return found


def updater(network: Any) -> Callable[[], Any]:
    """How a network is told to update: update_weights(), or its optimizer's step."""
    method = getattr(network, "update_weights", None) or getattr(network, "update", None)
    if callable(method) and not _needed(method):
        return method
    optimizer = getattr(network, "optimizer", None) or getattr(network, "opt", None)
    if optimizer is not None:
        try:
            step = _stepping(optimizer)
        except TypeError:
            step = None
        if step:
            needed = [plain(name) for name in _needed(step)]
            decay = roles_of(step, ("decay",))
            if len(needed) == 1 and decay and hasattr(network, "weight_decay"):
                return lambda: step(network.layers, **{decay["decay"]: network.weight_decay})
            if len(needed) == 1:
                return lambda: step(network.layers)
            if len(needed) == 3 and "grad" in needed[1] and "grad" in needed[2]:
                return lambda: step(network.layers, network.grad_W, network.grad_b)
            if len(needed) >= 2:
                known = {"layers": "layers", "learningrate": "rate", "lr": "rate", "weightdecay": "decay"}
                if all(name in known for name in needed):
                    values = {"layers": network.layers, "rate": NUMBERS.learning_rate}
                    values["decay"] = getattr(network, "weight_decay", 0.0)
                    return lambda: step(*(values[known[name]] for name in needed))
    if callable(method):
        raise Unclear(f"update_weights needs {', '.join(_needed(method))}: it cannot be tried with given gradients")
    raise Unclear("it has no update_weights() to try the optimizer with")


def _network_optimizer(network: Classes, name: str, seed: int) -> Finding:
    one = network.build((5, 4), network.activations[0], network.losses[0], optimizer=name, rate=0.01)
    test = case((network.inputs or 6, 5, 4, network.classes), 3, seed)
    shapes = [part.shape for pair in test.params for part in pair]
    start, grads = given(shapes, seed)
    slots = network.put(one, test.params)
    output = one.forward(test.x.copy())
    z = output if isinstance(output, np.ndarray) else next(arrays_in(output, (3, network.classes)))
    for labels in (test.y.copy(), test.y.argmax(axis=1)):
        try:
            network._backward(one, test.x, labels, z)
            break
        except Exception:
            continue
    slots = network.put(one, [(start[i], start[i + 1]) for i in range(0, len(start), 2)])
    update = updater(one)
    rows: list[list[Array]] = [[] for _ in start]
    for g in grads:
        _set_gradients(network, one, slots, g)
        with np.errstate(all="ignore"):
            update()
        for i, slot in enumerate(slots):
            w, b = slot.get(slot.w), np.asarray(slot.get(slot.b)).reshape(-1)
            rows[2 * i].append((w.T if network.out_in else w) - start[2 * i])
            rows[2 * i + 1].append(b - start[2 * i + 1])
    paths = [np.array(row) for row in rows]
    optimizer = getattr(one, "optimizer", None) or getattr(one, "opt", None)
    known = attributes(optimizer, name) if hasattr(optimizer, "__dict__") else {}
    known.setdefault("learning_rate", 0.01)
    if looks_ahead(one, optimizer) and name == "nesterov":
        return _ahead_elsewhere(name, paths, start, grads, known)
    return report(name, paths, start, grads, list(candidates(name, known)))


def _set_gradients(network: Classes, one: Any, slots: Any, g: Sequence[Array]) -> None:
    """Writes gradients where updates read them: on the layers, and into the network's own lists, last layer first."""
    from mlp_jax.check.networks import _GB_NAMES, _GW_NAMES

    lists: tuple[list[Array], list[Array]] = ([], [])
    for i, slot in enumerate(slots):
        w = g[2 * i].T if network.out_in else g[2 * i]
        b = g[2 * i + 1].reshape(np.shape(slot.get(slot.b)))
        pairs: list[tuple[Sequence[str], Array]] = [(_GW_NAMES, w), (_GB_NAMES, b)]
        for names, value in pairs:
            present = [name for name in names if hasattr(slot.holder, name)] or [names[0]]
            for name in present:
                setattr(slot.holder, name, value.copy())
        lists[0].append(w.copy())
        lists[1].append(b.copy())
    for names, values in zip((_GW_NAMES, _GB_NAMES), lists, strict=True):
        for name in names:
            kept = getattr(one, name, None)
            if kept is not None and hasattr(kept, "__len__") and len(kept) == len(values):
                array = np.empty(len(values), dtype=object)
                array[:] = values[::-1]
                setattr(one, name, array if isinstance(kept, np.ndarray) else values[::-1])
