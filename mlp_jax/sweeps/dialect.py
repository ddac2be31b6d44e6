"""The W&B sweep dictionary, read into a search space and written back; spellings of other systems are understood.

Sources: the W&B sweep configuration reference; L. Li et al., Hyperband, JMLR 18 (2018) for `early_terminate`.
"""

import math
from collections.abc import Callable, Iterator
from itertools import accumulate, product
from operator import mul, truediv
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mlp_jax.errors import UserError, as_flag, as_flags, is_number, not_one_of, shown
from mlp_jax.runs.spelling import (
    ABBREVIATIONS,
    MOST_LAYERS,
    MOST_UNITS,
    canonical,
    canonical_field,
    canonical_metric,
    sizes,
)
from mlp_jax.sweeps.space import Distribution, Hyperband, Space

METHODS = ("grid", "random", "bayes")
SWEEP_KEYS = (
    *("method", "metric", "parameters", "run_cap", "early_terminate", "name", "batch", "report_test"),
    # W&B's own affairs
    *("description", "program", "project", "entity", "command", "controller", "apiVersion", "kind"),
)
SPEC_KEYS = ("values", "value", "min", "max", "q", "distribution", "parameters")
DISTRIBUTIONS = (
    *("constant", "categorical", "int_uniform", "uniform", "q_uniform"),
    *("log_uniform_values", "q_log_uniform_values"),
)
SHAPE = {"num_layers": (0, MOST_LAYERS), "hidden_size": (1, MOST_UNITS)}  # not fields, but together hidden_sizes
MOST_WIDTHS = 50_000  # in sweep.yaml; a thousand depths of up to a thousand layers would take minutes to write
LARGEST = 2**53  # the largest count that the study's storage, in float64, keeps exactly

Check = Callable[[str, Any], None]


class _Parameter(NamedTuple):
    where: str  # its place in the sweep, as messages name it
    field: str
    type: type  # of its values
    check: Check


def parse(sweep: dict[str, Any], config: ConfigDict, check: Check = lambda field, value: None) -> Space:
    """Reads a W&B sweep dictionary over the fields of `config`; `check(field, value)` raises for a value not allowed.

    Where no metric is given it is val/accuracy; where no goal is, accuracies are maximized and losses minimized.
    `loss` and `accuracy` alone mean those of the validation set. Grid and random never repeat a configuration.
    """
    _known_keys("sweep", sweep, SWEEP_KEYS)
    method = _one_of("sweep.method", sweep.get("method", ""), METHODS)
    name, report_test = sweep.get("name", "sweep"), sweep.get("report_test", False)
    counts = {key: sweep.get(key, 0) for key in ("run_cap", "batch")}
    for key, count in counts.items():
        limit = "a whole number of at least 1, or 0 for no limit"
        _require(_is_whole(count) and 0 <= count <= LARGEST, f"sweep.{key}", count, limit)
    text = isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()
    _require(text, "sweep.name", name, "a text of 1 to 200 printable characters")
    _require(isinstance(report_test, bool), "sweep.report_test", report_test, "True or False")
    metric, goal, target = _metric(sweep.get("metric", {}), config)
    parameters, fixed = _parameters(sweep.get("parameters"), config, check)
    space = Space(
        method=method,
        metric=metric,
        goal=goal,
        target=target,
        parameters=parameters,
        fixed=fixed,
        early_terminate=_early_terminate(sweep.get("early_terminate")),
        name=name,
        report_test=report_test,
        depth=len(config.hidden_sizes),
        width=next(iter(config.hidden_sizes), 0),
        **counts,
    )
    for field, distribution in parameters.items():
        if space.method == "grid" and distribution.size is None:
            raise UserError(
                f"sweep.parameters.{field}: a grid over a continuous range; give values, int_uniform or q_uniform"
            )
    if space.cap is None:
        raise UserError("sweep.run_cap: a continuous range never ends by itself; give a run_cap of at least 1")
    return space


def to_yaml(space: Space, config: ConfigDict, defaults: ConfigDict) -> str:
    """sweep.yaml, with which `wandb sweep` and `wandb agent` drive main.py in place of our own search.

    Fields in which `config` differs from `defaults` and those that the sweep fixes become flags of the command; depth ×
    width become the products of the two under config.hidden_sizes, so that every command is one that main.py reads.
    """
    import yaml

    varied = dict(space.parameters)
    shape = {field: varied.pop(field) for field in SHAPE if field in varied}
    if shape:
        last = {field: distribution.at((distribution.size or 1) - 1) for field, distribution in shape.items()}
        deepest = max(1, len(space.overrides(last)["hidden_sizes"]))
        if math.prod(distribution.size or 0 for distribution in shape.values()) * deepest > MOST_WIDTHS:
            return f"# depth x width makes more than {MOST_WIDTHS} widths, too many for W&B's list of values\n"
        pairs = product(*(distribution.values for distribution in shape.values()))
        nets = [space.overrides(dict(zip(shape, pair, strict=True)))["hidden_sizes"] for pair in pairs]
        varied = {"hidden_sizes": Distribution(tuple(nets))} | varied
    given = {field: config[field] for field in _fields(config) if config[field] != defaults.get(field)}
    given |= space.overrides({})
    given = {field: value for field, value in given.items() if field not in varied} | {"tracker": "wandb"}
    flags = as_flags(given)
    sweep: dict[str, Any] = {
        "program": "main.py",
        "name": space.name,
        "method": space.method,
        "metric": {"name": space.metric, "goal": space.goal}
        | ({} if space.target is None else {"target": space.target}),
        "parameters": {f"config.{field}": _spec(field, varied[field]) for field in varied},
        "command": ["${env}", "${interpreter}", "${program}", *flags, "${args}"],
    }
    early = space.early_terminate
    sweep |= ({"run_cap": space.run_cap} if space.run_cap else {}) | ({"early_terminate": early.given} if early else {})
    return yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and is_number(value)


def _require(allowed: bool, name: str, value: Any, what: str) -> None:
    if not allowed:
        raise UserError(f"{name}: {shown(value)} is not {what}")


def _one_of(name: str, given: Any, allowed: tuple[str, ...]) -> str:
    """The word of `allowed` that is given in any case."""
    word = given.lower() if isinstance(given, str) else given
    if word not in allowed:
        raise not_one_of(name, given, allowed)
    return word


def _known_keys(name: str, given: Any, allowed: tuple[str, ...]) -> None:
    _require(isinstance(given, dict), name, given, f"a dictionary with keys among {', '.join(allowed)}")
    for key in given:
        if key not in allowed:
            raise not_one_of(f"{name}, key", key, allowed)


def _metric(metric: Any, config: ConfigDict) -> tuple[str, str, float | None]:
    _known_keys("sweep.metric", metric, ("name", "goal", "target"))
    name = canonical_metric(metric.get("name", "val/accuracy"))
    if name.startswith("val/") and not config.val_fraction:
        raise UserError(
            f"sweep.metric.name: nobody logs {name} with val_fraction=0; a train/ metric or a share held out is needed"
        )
    usual = "maximize" if name.endswith("accuracy") else "minimize"
    goal = _one_of("sweep.metric.goal", metric.get("goal", usual), ("maximize", "minimize"))
    target = metric.get("target")
    _require(target is None or is_number(target), "sweep.metric.target", target, "a number")
    return name, goal, target


def _fields(config: ConfigDict) -> list[str]:
    """What can be searched."""
    plain = bool | int | float | str | tuple
    return [field for field in config if field != "storage" and isinstance(config[field], plain)]


def _parameters(given: Any, config: ConfigDict, check: Check) -> tuple[dict[str, Distribution], dict[str, Any]]:
    """What varies, in the canonical order, and what has one value."""
    fields = _fields(config)
    found: dict[str, Distribution] = {}
    for where, spec in _flatten("sweep.parameters", given):
        *_, group, name = where.split(".")
        name = group if name in ("name", "type") and group != "parameters" else name  # optimizer.name is the optimizer
        field = canonical_field(name, fields)
        if field in found:
            raise UserError(f"sweep.parameters: {name} and another name both mean {field}")
        kind = int if field in SHAPE else type(config[field])
        found[field] = _distribution(_Parameter(where, field, kind, check), spec)
    if not found:
        raise UserError(
            "sweep.parameters: nothing to search; give at least one, as {'learning_rate': {'values': [0.001, 0.01]}}"
        )
    if "hidden_sizes" in found and found.keys() & SHAPE.keys():
        raise UserError("sweep.parameters: hidden_sizes and num_layers or hidden_size exclude each other")
    if "num_layers" in found and "hidden_size" not in found and len(set(config.hidden_sizes)) != 1:
        raise UserError(
            f"sweep.parameters: num_layers needs hidden_size, since hidden_sizes={config.hidden_sizes} has no one width"
        )
    order = [*ABBREVIATIONS]
    slot = order.index("learning_rate") - 0.5  # a field without an abbreviation loops outside the plain numbers
    ordered = sorted(found, key=lambda field: (order.index(field) if field in ABBREVIATIONS else slot, field))
    varied = {field: found[field] for field in ordered if found[field].size != 1}
    return varied, {field: found[field].at(0) for field in ordered if field not in varied}


def _flatten(path: str, given: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs of dotted path and specification; nested parameters one by one."""
    names = list(given) if isinstance(given, dict) and depth <= 5 else [None]
    named = all(isinstance(name, str) and name and name.isprintable() for name in names)
    _require(named, path, given, "a dictionary of parameters")
    for name, spec in given.items():
        where = f"{path}.{name}"
        _require(isinstance(spec, dict), where, spec, "{'values': […]}, {'value': …} or {'min': …, 'max': …}")
        _known_keys(where, spec, SPEC_KEYS)
        if "parameters" not in spec:
            yield where, spec
        elif len(spec) == 1:
            yield from _flatten(where, spec["parameters"], depth + 1)
        else:
            others = ", ".join(sorted(spec.keys() - {"parameters"}))
            raise UserError(f"{where}: 'parameters' stands alone, beside it are {others}")


def _distribution(parameter: _Parameter, spec: dict[str, Any]) -> Distribution:
    """The values that a specification allows; without a `distribution` it is the one that its keys say, as in W&B."""
    where = parameter.where
    usual = "int_uniform" if _is_whole(spec.get("min")) and _is_whole(spec.get("max")) else "uniform"
    usual = "categorical" if "values" in spec else "constant" if "value" in spec else usual
    kind = _one_of(f"{where}.distribution", spec.get("distribution", usual), DISTRIBUTIONS)
    needed = {"constant": ("value",), "categorical": ("values",)}.get(kind, ("min", "max"))
    _known_keys(f"{where}, {kind}", spec, (*needed, *(("q",) if kind.startswith("q_") else ()), "distribution"))
    if not set(needed) <= spec.keys():
        raise UserError(f"{where}: {kind} needs {' and '.join(needed)}; given are {', '.join(spec) or 'none'}")
    if kind == "constant":
        return Distribution((_value(parameter, spec["value"]),))
    if kind == "categorical":
        values = spec["values"]
        some = isinstance(values, list | tuple) and len(values) > 0
        _require(some, f"{where}.values", values, "a list of at least one value")
        return Distribution(tuple(dict.fromkeys(_value(parameter, value) for value in values)))
    return _numeric(parameter, spec, kind)


def _numeric(parameter: _Parameter, spec: dict[str, Any], kind: str) -> Distribution:
    where, field, whole = parameter.where, parameter.field, parameter.type is int
    if parameter.type not in (int, float):
        raise UserError(f"{where}: {field} is not a number; give its choices as {{'values': […]}}")
    fits, what = (_is_whole, "a whole number") if kind == "int_uniform" else (is_number, "a number")
    for key in ("min", "max", "q"):
        _require(fits(spec.get(key, 1)), f"{where}.{key}", spec.get(key), what)
    low, high, log = spec["min"], spec["max"], "log" in kind
    step = spec.get("q", 1) if kind.startswith("q_") else int(kind == "int_uniform")
    if low > high:
        raise UserError(f"{where}: an empty range, min={shown(low)} is above max={shown(high)}")
    _require(step > 0 or "q" not in spec, f"{where}.q", step, "above 0")
    if step and max(abs(low), abs(high)) / step > LARGEST:
        raise UserError(
            f"{where}: {shown(low)} to {shown(high)} in steps of {shown(step)} are more values than can be counted"
        )
    if whole and (not step or step != int(step)):
        steps = f" in steps of {shown(step)}" if step else ""
        raise UserError(f"{where}: {field} takes whole numbers, not {kind}{steps}; allowed are int_uniform and whole q")
    lowest = round(low / step) if step else low
    _require(not log or lowest > 0, f"{where}.min", low, f"above {step / 2:.4g}, as {kind} needs")
    if low == high and not step:
        return Distribution((_value(parameter, low),))
    distribution = Distribution(low=low, high=high, step=step, log=log, whole=whole)
    for end in (distribution.at(0), distribution.at((distribution.size or 1) - 1)) if step else (low, high):
        _value(parameter, end)
    return distribution


def _value(parameter: _Parameter, value: Any) -> Any:
    """A proposed value in the type of its field; `hidden_sizes` as '128-64', since a study's storage has no tuples."""
    where, field, wanted, check = parameter
    if field == "hidden_sizes":
        check(field, sizes(value))
        return "-".join(map(str, sizes(value)))
    if wanted in (int, float) and is_number(value) and (wanted is float or value == int(value)):
        value = wanted(value)
    value = canonical(field, value)
    names = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}
    _require(type(value) is wanted and wanted in names, where, value, names.get(wanted, "of a kind to search"))
    if field in SHAPE:
        low, high = SHAPE[field]
        _require(low <= value <= high, where, value, f"in {low} … {high}")
    else:
        check(field, value)
    return value


def _early_terminate(given: Any) -> Hyperband | None:
    """min_iter: brackets min_iter·eta^i; max_iter and s: max_iter/eta^i, i = 1 … s. Iterations are epochs."""
    if not given:
        return None
    where = "sweep.early_terminate"
    _known_keys(where, given, ("type", "min_iter", "max_iter", "s", "eta", "strict"))
    _one_of(f"{where}.type", given.get("type", ""), ("hyperband",))
    eta, strict = given.get("eta", 3), given.get("strict", False)
    _require(is_number(eta) and eta > 1, f"{where}.eta", eta, "a number above 1")
    _require(isinstance(strict, bool), f"{where}.strict", strict, "True or False")
    for key in ("min_iter", "max_iter", "s"):
        count = given.get(key, 1)
        _require(_is_whole(count) and 1 <= count <= LARGEST, f"{where}.{key}", count, "a whole number of at least 1")
    if "max_iter" in given and "s" in given:
        marks = accumulate([given["max_iter"]] + [eta] * min(given["s"], 100), truediv)
    elif "min_iter" in given and "max_iter" not in given:
        marks = accumulate([given["min_iter"]] + [eta] * 100, mul)
    else:
        raise UserError(f"{where}: needs min_iter, or max_iter and s; given are {', '.join(sorted(given))}")
    last = given.get("max_iter", LARGEST)
    brackets = tuple(sorted({int(mark + 1e-9) for mark in marks if 1 <= mark <= LARGEST} - {last}))
    if not brackets:
        raise UserError(f"{where}: no bracket at or after epoch 1; take a larger max_iter or a smaller eta")
    return Hyperband(brackets, float(eta), strict, given)


def _spec(field: str, distribution: Distribution) -> dict[str, Any]:
    """W&B's form of a distribution, bounds as values."""
    if distribution.choices:
        tuples = field == "hidden_sizes"
        return {"values": [as_flag(sizes(value)) if tuples else value for value in distribution.choices]}
    if distribution.step == 1 and not distribution.log:
        return {"distribution": "int_uniform", "min": int(distribution.low), "max": int(distribution.high)}
    kind = ("q_" if distribution.step else "") + ("log_uniform_values" if distribution.log else "uniform")
    quantum = {"q": distribution.step} if distribution.step else {}
    return {"distribution": kind, "min": distribution.low, "max": distribution.high} | quantum
