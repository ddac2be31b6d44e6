"""The checks of what stands beside a network: activations, initialisers, weight decay, dropout, splits and metrics."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from mlp_jax.check import reference as ours
from mlp_jax.check.checks import finding
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.check.judge import RIGHT_TO, Tensors, judge
from mlp_jax.check.mistakes import EQUATIONS, Lines, of_family
from mlp_jax.check.names import Misfit, Unclear, call, parameters_of, roles_of
from mlp_jax.check.networks import LABELS, Classes, Functions, arrays_in, case, one_line
from mlp_jax.check.updates import updater

Array = np.ndarray
ACTIVATION_AT = "backpropagation#through-the-activation"
RATE = 0.2  # of dropout and of a split


def _failed(item: str, error: BaseException, where: str, guessed: bool = False) -> Finding:
    """What raised; unsure where our way to call it was a guess."""
    if isinstance(error, Unclear):
        return Finding(item, UNSURE, note=str(error), equation=where)
    if guessed:
        return Finding(item, UNSURE, note=f"could not be tried as we call it: {one_line(error)}", equation=where)
    return Finding(item, FAILED, note=one_line(error), equation=where)


# ------------------------------------------------------------------------------------------------------- activations


def activation_findings(name: str, fn: Callable[..., Any]) -> list[Finding]:
    """f(z) beside ours, also where an exponential overflows."""
    z = np.linspace(-3, 3, 23).reshape(1, -1)
    big = np.array([[1000.0, -1000.0, 0.0]])
    right = ours.softmax if name == "softmax" else ours.ACTIVATIONS[name][0]
    where = "backpropagation#softmax-and-its-jacobian" if name == "softmax" else ACTIVATION_AT
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(fn(z.copy()), np.float64)
            extreme = np.asarray(fn(big.copy()), np.float64)
    except Exception as error:
        return [_failed(name, error, where)]

    def predict(index: int, lines: Lines) -> Tensors:
        if name == "softmax":
            return {"": right(z)}
        return {"": ours.Forward(**lines).hidden(z, right, 0, 2)}

    known = of_family("forward", what=name) if name != "softmax" else {}
    known = {key: mistake for key, mistake in known.items() if "hidden" in mistake.variants[0] and mistake.of}
    one = finding(name, judge([{"": found}], predict, known, pairs=False), "forward")._replace(equation=where, where="")
    if one.verdict == RIGHT and not np.isfinite(extreme).all():
        note = "right for usual inputs, but it overflows at ±1000: subtract the largest entry first"
        return [one._replace(verdict=WRONG, note=note if name == "softmax" else note.split(":")[0])]
    return [one]


def derivative_findings(name: str, fn: Callable[..., Any]) -> list[Finding]:
    """f'(z), given z or given a = f(z): which of them it takes is found out and said."""
    z = np.linspace(-2.9, 3, 23).reshape(1, -1)
    f, df = ours.ACTIVATIONS[name]
    item = f"derivative of {name}"
    if len([p for p in parameters_of(fn) if p.default is p.empty]) != 1:
        return []
    try:
        with np.errstate(all="ignore"):
            of_z, of_a = (np.asarray(fn(v.copy()), np.float64) for v in (z, f(z)))
    except Exception as error:
        return [_failed(item, error, ACTIVATION_AT)]
    expected = df(z, f(z))
    for found, takes in ((of_z, "z"), (of_a, "a = f(z)")):
        if found.shape == z.shape and np.max(np.abs(found - expected)) <= RIGHT_TO:
            note = f"takes {takes}" if name not in ("relu", "leaky_relu", "identity") else ""
            return [
                Finding(item, RIGHT, error=float(np.max(np.abs(found - expected))), note=note, equation=ACTIVATION_AT)
            ]
    off = float(np.max(np.abs(of_z - expected))) if of_z.shape == z.shape else None
    note = "neither f'(z) nor the formula in terms of a"
    return [Finding(item, WRONG, error=off, note=note, equation=ACTIVATION_AT)]


# ------------------------------------------------------------------------------------------------------ initialisers


def init_finding(name: str, w: Array, n_in: int, n_out: int, again: Array | None = None) -> Finding:
    """Weights of (in, out) by their moments and their range. Widths differ, so that the variances do."""
    item, where = f"init {name}", "mathematics"
    if not np.isfinite(w).all():
        return Finding(item, WRONG, note="NaN or infinite weights", equation=where)
    mean, sd, largest = float(np.mean(w)), float(np.std(w)), float(np.max(np.abs(w)))
    if np.ptp(w) == 0:
        if name == "zeros" and largest == 0:
            return Finding(item, RIGHT, equation=where)
        return Finding(item, WRONG, found=f"all {w.flat[0]:g}", mistakes=("weights_constant",), equation=where)
    if again is not None and name != "zeros" and np.array_equal(w, again):
        return Finding(item, WRONG, mistakes=("layers_alike",), equation=where)
    if name == "zeros":
        return Finding(item, WRONG, found=f"standard deviation {sd:.3g}", note="not zero", equation=where)
    uniform = largest <= 1.8 * sd
    kind = "uniform" if uniform else "normal"
    found = f"{kind}, mean {mean:.2g}, standard deviation {sd:.4g}"
    if (w > 0).all():
        return Finding(item, WRONG, found=found, mistakes=("random_positive",), equation=where)
    if abs(mean) > 0.05 * sd:
        return Finding(item, WRONG, found=found, note="its mean is not zero", equation=where)
    if name == "random":
        if sd > 0.5:
            return Finding(item, WRONG, found=found, mistakes=("random_unscaled",), equation=where)
        return Finding(item, RIGHT, note=found, equation=where)

    def near(variance: float) -> bool:
        return abs(sd * sd / variance - 1) < 0.04

    xavier, he = 2 / (n_in + n_out), 2 / n_in
    variance = {"xavier": xavier, "he": he}[name]
    expected = f"variance {variance:.4g}"
    if near(variance):
        if name == "xavier" and not uniform:
            note = f"{found}: the normal form. CHECK = {{'xavier': 'normal'}} says that it is meant"
            return Finding(item, UNSURE, mistakes=("xavier_normal",), note=note, equation=where)
        return Finding(item, RIGHT, note=found, equation=where)
    tests = {
        "xavier": {
            "xavier_is_he": near(he),
            "xavier_fan_in": near(1 / n_in) or near(1 / (3 * n_in)),
            "xavier_fan_out": near(1 / n_out) or near(1 / (3 * n_out)),
            "xavier_limit_as_deviation": not uniform and near(3 * xavier),
            "xavier_deviation_as_limit": uniform and near(xavier / 3),
        },
        "he": {"he_is_xavier": near(xavier), "he_fan_out": near(2 / n_out)},
    }[name]
    tests["random_unscaled"] = abs(sd - 1) < 0.02
    names = [key for key, holds in tests.items() if holds]
    mistakes = tuple(names) if len(names) == 1 else ()
    note = "" if mistakes else "no known mistake"
    return Finding(item, WRONG, expected=expected, found=found, mistakes=mistakes, note=note, equation=where)


def init_function_findings(name: str, fn: Callable[..., Any], normal_meant: bool = False) -> list[Finding]:
    """An initialiser as a plain function: (n_in, n_out) or (shape)."""
    n_in, n_out = 500, 300
    roles = roles_of(fn, ("inputs", "outputs", "shape", "seed"))
    error: BaseException | None = None
    for turned in (False, True):
        shape = (n_out, n_in) if turned else (n_in, n_out)
        values = {"inputs": n_in, "outputs": n_out, "shape": shape, "seed": 0}
        try:
            if "inputs" in roles or "shape" in roles:
                results = [call(fn, roles, values, f"init {name}") for _ in range(2)]
            else:
                results = [fn(*shape) for _ in range(2)]
            arrays = [next(arrays_in(result, (n_in, n_out))) for result in results]
        except (Exception, SystemExit) as raised:
            error = error or raised
            continue
        again = None if "seed" in roles else arrays[1]
        found = init_finding(name, arrays[0], n_in, n_out, again)
        if turned and found.verdict != RIGHT:
            continue
        return [_as_meant(found, normal_meant)]
    if isinstance(error, StopIteration) or error is None:
        error = Misfit("it gives no array of shape (in, out)")
    return [_failed(f"init {name}", error, "mathematics", True)]


def _as_meant(found: Finding, normal_meant: bool) -> Finding:
    if normal_meant and found.mistakes == ("xavier_normal",):
        return found._replace(verdict=RIGHT, mistakes=(), note=found.note.split(":")[0])
    return found


def network_init_findings(network: Classes) -> list[Finding]:
    """The initialisers that the skeleton's class is made with, by the weights of a wide layer and of two equal ones."""
    found = []
    spelled = {
        "xavier": ("xavier", "Xavier", "glorot"),
        "random": ("random", "random_normal"),
        "he": ("he", "He"),
        "zeros": ("zeros",),
    }
    for name, spellings in spelled.items():
        known = [text for text in sorted(network.strings) if text.lower() in {s.lower() for s in spellings}]
        for spelling in known:
            try:
                one = network.build((300, 80, 80, 80), network.activations[0], network.losses[0], init=spelling)
                weights = [slot.get(slot.w) for slot in network._layers(one)]
            except Exception:
                continue
            w = weights[0].T if network.out_in else weights[0]
            alike = np.array_equal(weights[2], weights[3])
            judged = init_finding(name, w, w.shape[0], w.shape[1], w if alike else None)
            found.append(_as_meant(judged, network.check.get("xavier") == "normal"))
            break
    return found


# ------------------------------------------------------------------------------------------------------ weight decay

DECAY = 0.05


def decay_findings(network: Functions | Classes, seed: int = 0) -> list[Finding]:
    """The λ term of the gradient, as what it changes; where updates add it, as what the first SGD update changes."""
    if isinstance(network, Functions) and "decay" not in network.roles:
        return []
    if isinstance(network, Classes) and network._make is None:
        return []
    activation, loss = network.activations[0], (network.losses or ("cross_entropy",))[0]
    failed: list[BaseException] = []
    k = network.classes
    for equal in (False, True):  # some mistakes run only where widths are equal
        inputs, widths = network.inputs or (k if equal else 6), ((k, k), (k,)) if equal else ((5, 4), (3,))
        cases = [case((inputs, *hidden, k), b, seed) for hidden, b in zip(widths, (7, 4), strict=True)]
        found: list[Tensors | None] = []
        try:
            for one in cases:
                with_it, without = (_effective(network, activation, loss, one, rate) for rate in (DECAY, 0.0))
                found.append({key: with_it[key] - without[key] for key in with_it})
            break
        except (Exception, SystemExit) as error:
            failed.append(error)
    else:
        return [_failed("weight decay", failed[0], EQUATIONS["decay"])]

    def predict(index: int, lines: Lines) -> Tensors:
        rules, one, terms = ours.Backward(**lines), cases[index], {}
        for layer, (w, b) in enumerate(one.params, 1):
            terms[f"layer {layer}, W"] = rules.decay(DECAY, w, len(one.x)) + np.zeros_like(w)
            terms[f"layer {layer}, b"] = rules.decay_b(DECAY, b, len(one.x)) + np.zeros_like(b)
        return terms

    return [finding("weight decay", judge(found, predict, of_family("decay"), tolerance=1e-6), "decay")]


def _effective(network: Functions | Classes, activation: str, loss: str, one: Any, rate: float) -> Tensors:
    """The gradient that an update follows."""
    from mlp_jax.check.checks import tensors

    if isinstance(network, Functions):
        error: Exception | None = None
        for labels in LABELS:
            try:
                return tensors(network.gradients(activation, loss, one.params, one.x, one.y, labels, rate))
            except Exception as raised:
                error = error or raised
        assert error
        raise error
    eta = 0.01
    net = network.build([w.shape[1] for w, _ in one.params[:-1]], activation, loss, "sgd", rate=eta, decay=rate)
    slots = network.put(net, one.params)
    output = net.forward(one.x.copy())
    z = output if isinstance(output, np.ndarray) else next(arrays_in(output, (len(one.x), network.classes)))
    try:
        network._backward(net, one.x, one.y.copy(), z)
    except (IndexError, ValueError, TypeError):
        network._backward(net, one.x, one.y.argmax(axis=1), z)
    updater(net)()
    moved = []
    for slot, (w, b) in zip(slots, one.params, strict=True):
        new = slot.get(slot.w)
        moved.append((((new.T if network.out_in else new) - w) / -eta, (np.reshape(slot.get(slot.b), -1) - b) / -eta))
    gradient = network._from_layers(slots, [w.shape for w, _ in one.params]) or moved
    along = sum(float(np.vdot(m, g)) for a, b in zip(moved, gradient, strict=True) for m, g in zip(a, b, strict=True))
    return tensors(moved if along >= 0 else [(-w, -b) for w, b in moved])  # the update's own sign is another finding


# ----------------------------------------------------------------------------------------------------------- dropout


def dropout_findings(fn: Callable[..., Any]) -> list[Finding]:
    """What is dropped, and by what the rest is multiplied."""
    item, where = "dropout", EQUATIONS["dropout"]
    roles = roles_of(fn, ("x", "shape", "rate", "keep", "training", "seed"))
    ones = np.ones((400, 500))
    values = {"x": ones.copy(), "shape": ones.shape, "rate": RATE, "keep": 1 - RATE, "training": True, "seed": 0}
    try:
        result = fn(ones.copy(), RATE) if "x" not in roles and "shape" not in roles else call(fn, roles, values, item)
        out = next(arrays_in(result, ones.shape))
    except StopIteration:
        return [Finding(item, FAILED, note="it gives no array of the shape that it was given", equation=where)]
    except (Exception, SystemExit) as error:
        return [_failed(item, error, where)]
    dropped, kept = float(np.mean(out == 0)), np.unique(out[out != 0])
    if len(kept) != 1:
        return [Finding(item, WRONG, note="what is kept is not multiplied by one number", equation=where)]
    factor = float(kept[0])
    found = f"{dropped:.1%} dropped, the rest × {factor:.4g}, mean {out.mean():.3g}"

    def is_near(share: float, by: float) -> bool:
        return abs(dropped - share) < 0.01 and abs(factor - by) < 1e-6

    if is_near(RATE, 1 / (1 - RATE)):
        return [Finding(item, RIGHT, error=abs(float(out.mean()) - 1), note=found, equation=where)]
    tests = {
        "dropout_not_scaled": is_near(RATE, 1),
        "dropout_rate_is_keep": is_near(1 - RATE, 1 / RATE),
        "dropout_divided_by_rate": is_near(RATE, 1 / RATE),
    }
    names = tuple(key for key, holds in tests.items() if holds)
    expected = f"{RATE:.0%} dropped, the rest × {1 / (1 - RATE):g}"
    note = "" if names else "no known mistake"
    return [Finding(item, WRONG, expected=expected, found=found, mistakes=names, note=note, equation=where)]


# -------------------------------------------------------------------------------------------------- splits and metrics


def split_findings(fn: Callable[..., Any]) -> list[Finding]:
    """Rows that carry their own number: is each in one part, with its label?"""
    item, n = "split", 203
    x, y = np.arange(n, dtype=np.float64)[:, None] * np.ones(3), np.arange(n)
    roles = roles_of(fn, ("x", "y", "fraction", "seed"))
    try:
        if "x" in roles and "y" in roles:
            result = call(fn, roles, {"x": x.copy(), "y": y.copy(), "fraction": RATE, "seed": 0}, item)
        else:
            result = fn(x.copy(), y.copy(), RATE)
        flat = [part for group in result for part in (group if isinstance(group, list | tuple) else [group])]
        xs, ys = [p for p in flat if np.ndim(p) == 2], [p for p in flat if np.ndim(p) == 1]
        if len(xs) != 2 or len(ys) != 2:
            raise Misfit("it gives not two arrays of rows and two of labels")
    except (Exception, SystemExit) as error:
        return [_failed(item, error, "mathematics", True)]
    order = sorted((0, 1), key=lambda i: len(xs[i]))
    rows = [np.asarray(xs[i])[:, 0].astype(int) for i in order]
    labels = sorted((np.asarray(part) for part in ys), key=len)
    names: list[str] = []
    if set(rows[0]) & set(rows[1]):
        names.append("split_overlaps")
    if any(len(r) != len(one) or (r != one).any() for r, one in zip(rows, labels, strict=True)):
        names.append("split_labels_apart")
    if set(rows[0]) | set(rows[1]) != set(range(n)):
        names.append("split_loses_rows")
    found = f"{len(rows[1])} and {len(rows[0])} of {n} rows"
    if names:
        return [
            Finding(item, WRONG, found=found, expected="each row once", mistakes=tuple(names), equation="mathematics")
        ]
    return [Finding(item, RIGHT, note=f"{found}, none twice", equation="mathematics")]


def metric_findings(name: str, fn: Callable[..., Any]) -> list[Finding]:
    """Accuracy, precision, recall and F1 of uneven classes, as any of the usual averages."""
    rng = np.random.default_rng(5)
    y = rng.choice(4, size=200, p=(0.5, 0.3, 0.15, 0.05))
    p = np.where(rng.random(200) < 0.65, y, rng.choice(4, size=200, p=(0.1, 0.2, 0.3, 0.4)))
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (y, p), 1)
    roles = roles_of(fn, ("y", "logits", "confusion", "classes"))
    ways: list[dict[str, Any]] = [
        {"y": y, "logits": p},
        {"y": np.eye(4)[y], "logits": np.eye(4)[p]},
        {"y": y, "logits": np.eye(4)[p]},
    ]
    values = _metrics(matrix)
    other = {"precision": "recall", "recall": "precision"}.get(name, "")
    error: BaseException | None = None
    off: float | None = None
    swapped = False
    for way, turned in product(ways, (False, True)):
        try:
            if {"y", "logits"} <= roles.keys() or "confusion" in roles:
                result = call(fn, roles, {**way, "confusion": matrix.T if turned else matrix, "classes": 4}, name)
            else:
                result = fn(*(list(way.values())[::-1] if turned else way.values()))
            found = np.asarray(result, np.float64)
        except (Exception, SystemExit) as raised:
            error = error or raised
            continue
        if name == "confusion_matrix":
            if found.shape == matrix.shape and (np.array_equal(found, matrix) or np.array_equal(found, matrix.T)):
                rows = "true" if np.array_equal(found, matrix) else "predicted"
                return [Finding(name, RIGHT, note=f"a row a {rows} class", equation="mathematics")]
            continue
        if any(
            np.shape(found) == np.shape(v) and np.allclose(found * s, v, atol=1e-9)
            for v in values[name]
            for s in (1, 0.01)
        ):
            return [Finding(name, RIGHT, equation="mathematics")]
        if other and any(np.shape(found) == np.shape(v) and np.allclose(found, v, atol=1e-9) for v in values[other]):
            swapped = True
        off = abs(float(np.mean(found)) - float(np.mean(values[name][0]))) if off is None else off
    if swapped:
        return [Finding(name, WRONG, mistakes=("metric_averages_swapped",), equation="mathematics")]
    if off is None and name != "confusion_matrix":
        return [_failed(name, error or ValueError("it could not be called"), "mathematics", True)]
    return [Finding(name, WRONG, error=off, note="no usual average gives this number", equation="mathematics")]


def _metrics(matrix: Array) -> dict[str, list[Any]]:
    """Each score by class and as its macro, weighted and micro average."""
    right, support = np.diag(matrix), matrix.sum(axis=1)
    precision, recall = right / matrix.sum(axis=0), right / support
    f1 = 2 * precision * recall / (precision + recall)
    accuracy = right.sum() / matrix.sum()
    scores = {"precision": precision, "recall": recall, "f1": f1}
    found: dict[str, list[Any]] = {
        name: [value.mean(), value, (value * support).sum() / support.sum(), accuracy] for name, value in scores.items()
    }
    macro = 2 * precision.mean() * recall.mean() / (precision.mean() + recall.mean())
    found["f1"].append(macro)
    return found | {"accuracy": [accuracy]}


def by_name(functions: dict[str, Callable[..., Any]], check: dict[str, Any], skip: Sequence[str] = ()) -> list[Finding]:
    """The checks of plain functions that stand by themselves, by our names of them."""
    found: list[Finding] = []
    for name, fn in functions.items():
        if name in skip:
            continue
        if name in ("sigmoid", "tanh", "relu", "identity", "leaky_relu", "softmax"):
            found += activation_findings(name, fn)
        elif name in ("xavier", "he", "random"):
            found += init_function_findings(name, fn, check.get("xavier") == "normal")
        elif name == "dropout":
            found += dropout_findings(fn)
        elif name == "split":
            found += split_findings(fn)
        elif name in ("accuracy", "confusion_matrix", "precision", "recall", "f1"):
            found += metric_findings(name, fn)
    return found
