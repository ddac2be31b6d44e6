"""The W&B sweep dictionary, read into a search space and written back; spellings of other systems are understood.

Sources: the W&B sweep configuration reference; L. Li et al., Hyperband, JMLR 18 (2018) for `early_terminate`.
"""

import math
from collections.abc import Callable, Iterable
from itertools import accumulate, product
from operator import mul, truediv
from typing import Any

from ml_collections import ConfigDict

from mlp_jax.errors import UserError
from mlp_jax.runs.spelling import (
    MOST_LAYERS,
    MOST_UNITS,
    canonical,
    canonical_field,
    canonical_metric,
    shown,
    sizes,
    unknown,
)
from mlp_jax.sweeps.space import ABBREVIATIONS, Distribution, Hyperband, Space

METHODS = ("grid", "random", "bayes")
SWEEP_KEYS = (
    *("method", "metric", "parameters", "run_cap", "early_terminate", "name", "batch", "report_test"),
    # W&B's own affairs
    *("description", "program", "project", "entity", "command", "controller", "apiVersion", "kind"),
)
SPEC_KEYS = ("values", "value", "probabilities", "min", "max", "q", "distribution", "parameters")
DISTRIBUTIONS = (
    *("constant", "categorical", "categorical_w_probabilities", "int_uniform", "uniform", "q_uniform"),
    *("log_uniform", "log_uniform_values", "q_log_uniform", "q_log_uniform_values"),
    *("inv_log_uniform", "inv_log_uniform_values"),
)
NOT_SWEPT = ("sweep", "storage")
SHAPE: dict[str, tuple[int, int]] = {
    "num_layers": (0, MOST_LAYERS),
    "hidden_size": (1, MOST_UNITS),
}  # not fields, but together hidden_sizes
MOST_WIDTHS = 50_000  # in sweep.yaml; a thousand depths of up to a thousand layers would take minutes to write
LARGEST = 2**53  # the largest count that the study's storage, in float64, keeps exactly

Check = Callable[[str, Any], None]


def parse(sweep: dict[str, Any], config: ConfigDict, check: Check = lambda field, value: None) -> Space:
    """Reads a W&B sweep dictionary over the fields of `config`; `check(field, value)` raises for a value not allowed.

    Where no metric is given it is val/accuracy; where no goal is, accuracies are maximized and losses minimized.
    `loss` and `accuracy` alone mean those of the validation set. Grid and random never repeat a configuration.
    """
    _known_keys("sweep", sweep, SWEEP_KEYS)
    method = _word(sweep.get("method", ""))
    if method not in METHODS:
        raise unknown("sweep.method", sweep.get("method", ""), METHODS)
    metric, goal, target = _metric(sweep.get("metric", {}), config)
    parameters, fixed = _parameters(sweep.get("parameters"), config, check)
    depth, width = _config_shape(config, parameters, fixed)
    space = Space(
        method=method,
        metric=metric,
        goal=goal,
        target=target,
        parameters=parameters,
        fixed=fixed,
        run_cap=_count("sweep.run_cap", sweep.get("run_cap", 0)),
        early_terminate=_early_terminate(sweep.get("early_terminate")),
        name=_text("sweep.name", sweep.get("name", "sweep")),
        batch=_count("sweep.batch", sweep.get("batch", 0)),
        report_test=_truth("sweep.report_test", sweep.get("report_test", False)),
        depth=depth,
        width=width,
    )
    _searchable(space)
    _check_shapes(space, check)
    return space


def to_yaml(space: Space, config: ConfigDict, defaults: ConfigDict) -> str:
    """sweep.yaml, with which `wandb sweep` and `wandb agent` drive main.py in place of our own search.

    Fields in which `config` differs from `defaults` and those that the sweep fixes become flags of the command; depth ×
    width become the products of the two under config.hidden_sizes, so that every command is one that main.py reads.
    """
    import yaml

    varied, shape = dict(space.parameters), [field for field in SHAPE if field in space.parameters]
    if shape:
        last = {field: varied[field].at((varied[field].size or 1) - 1) for field in shape}
        deepest = max(1, len(space.overrides(last)["hidden_sizes"]))
        if math.prod(varied[field].size or 0 for field in shape) * deepest > MOST_WIDTHS:
            return f"# depth x width makes more than {MOST_WIDTHS} widths, too many for W&B's list of values\n"
        axes = [[varied[field].at(i) for i in range(varied[field].size or 0)] for field in shape]
        nets = [space.overrides(dict(zip(shape, values, strict=True))) for values in product(*axes)]
        varied = {"hidden_sizes": Distribution(tuple("-".join(map(str, net["hidden_sizes"])) for net in nets))} | varied
        varied = {field: varied[field] for field in varied if field not in shape}
    given = {field: config[field] for field in _fields(config) if config[field] != defaults.get(field)}
    given |= space.overrides({})
    given = {field: value for field, value in given.items() if field not in varied} | {"tracker": "wandb"}
    flags = [f"--config.{field}={_flag(value)}" for field, value in given.items()]
    sweep: dict[str, Any] = {
        "program": "main.py",
        "name": space.name,
        "method": space.method,
        "metric": {"name": space.metric, "goal": space.goal}
        | ({} if space.target is None else {"target": space.target}),
        "parameters": {f"config.{field}": _spec(field, varied[field]) for field in varied},
        "command": ["${env}", "${interpreter}", "${program}", *flags, "${args}"],
    }
    if space.run_cap:
        sweep["run_cap"] = space.run_cap
    if space.early_terminate:
        sweep["early_terminate"] = space.early_terminate.given
    return yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True)


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e308


def _known_keys(name: str, given: Any, allowed: Iterable[str]) -> None:
    if not isinstance(given, dict):
        raise UserError(f"{name}: {shown(given)} is not a dictionary with keys among {', '.join(allowed)}")
    for key in given:
        if key not in tuple(allowed):
            raise unknown(f"{name}, key", key, allowed)


def _count(name: str, value: Any) -> int:
    if not _is_whole(value) or not 0 <= value <= LARGEST:
        raise UserError(f"{name}: {shown(value)} is not a whole number of at least 1, or 0 for no limit")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise UserError(f"{name}: {shown(value)} is not a text of 1 to 200 printable characters")
    return value


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{name}: {shown(value)} is not True or False")
    return value


def _metric(metric: Any, config: ConfigDict) -> tuple[str, str, float | None]:
    _known_keys("sweep.metric", metric, ("name", "goal", "target"))
    name = canonical_metric(metric.get("name", "val/accuracy"))
    if name.startswith("val/") and not config.val_fraction:
        raise UserError(
            f"sweep.metric.name: nobody logs {name} with val_fraction=0; a train/ metric or a share held out is needed"
        )
    goal = _word(metric.get("goal", "maximize" if name.endswith("accuracy") else "minimize"))
    if goal not in ("maximize", "minimize"):
        raise unknown("sweep.metric.goal", metric["goal"], ("maximize", "minimize"))
    target = metric.get("target")
    if target is not None and not _is_number(target):
        raise UserError(f"sweep.metric.target: {shown(target)} is not a number")
    return name, goal, target


def _fields(config: ConfigDict) -> list[str]:
    plain = bool | int | float | str | tuple
    return [field for field in config if field not in NOT_SWEPT and isinstance(config[field], plain)]


def _parameters(given: Any, config: ConfigDict, check: Check) -> tuple[dict[str, Distribution], dict[str, Any]]:
    """What varies, in the canonical order, and what has one value."""
    fields = _fields(config)
    found: dict[str, Distribution] = {}
    for name, spec in _flatten("sweep.parameters", given, 0):
        field = canonical_field(name, fields)
        if field in found:
            raise UserError(f"sweep.parameters: {name} and another name both mean {field}")
        found[field] = _distribution(f"sweep.parameters.{name}", spec, field, config, check)
    if not found:
        raise UserError(
            "sweep.parameters: nothing to search; give at least one, as {'learning_rate': {'values': [0.001, 0.01]}}"
        )
    if "hidden_sizes" in found and ("num_layers" in found or "hidden_size" in found):
        raise UserError("sweep.parameters: hidden_sizes and num_layers or hidden_size exclude each other")
    order = [*ABBREVIATIONS]
    slot = order.index("learning_rate") - 0.5  # a field without an abbreviation loops outside the plain numbers
    ordered = sorted(found, key=lambda field: (order.index(field) if field in ABBREVIATIONS else slot, field))
    varied = {field: found[field] for field in ordered if found[field].size != 1}
    return varied, {field: found[field].at(0) for field in ordered if field not in varied}


def _flatten(path: str, given: Any, depth: int) -> list[tuple[str, dict[str, Any]]]:
    """Pairs of name and specification; of nested ones the last name, or the one before it for `name` and `type`."""
    names = list(given) if isinstance(given, dict) and depth <= 5 else [None]
    if not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise UserError(f"{path}: {shown(given)} is not a dictionary of parameters")
    pairs: list[tuple[str, dict[str, Any]]] = []
    for name, spec in given.items():
        where = f"{path}.{name}"
        if not isinstance(spec, dict):
            raise UserError(
                f"{where}: {shown(spec)} is not {{'values': […]}}, {{'value': …}} or {{'min': …, 'max': …}}"
            )
        _known_keys(where, spec, SPEC_KEYS)
        words = name.removeprefix("config.").split(".")
        short = words[-2] if words[-1] in ("name", "type") and len(words) > 1 else words[-1]
        if "parameters" not in spec:
            pairs.append((short, spec))
        elif len(spec) > 1:
            raise UserError(
                f"{where}: 'parameters' stands alone, beside it are {', '.join(sorted(spec.keys() - {'parameters'}))}"
            )
        else:
            inner = _flatten(where, spec["parameters"], depth + 1)
            pairs += [(short if below in ("name", "type") else below, its) for below, its in inner]
    return pairs


def _distribution(where: str, spec: dict[str, Any], field: str, config: ConfigDict, check: Check) -> Distribution:
    kind = _kind(where, spec)
    if kind == "constant":
        _only(where, spec, kind, ("value",))
        return Distribution(choices=(_value(where, spec["value"], field, config, check),))
    if kind.startswith("categorical"):
        return _categorical(where, spec, kind, field, config, check)
    return _numeric(where, spec, kind, field, config, check)


def _kind(where: str, spec: dict[str, Any]) -> str:
    """The distribution asked for, or W&B's default for the keys given."""
    if "distribution" in spec:
        if spec["distribution"] not in DISTRIBUTIONS:
            raise unknown(f"{where}.distribution", spec["distribution"], DISTRIBUTIONS)
        return spec["distribution"]
    if "values" in spec:
        return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
    if "value" in spec:
        return "constant"
    return "int_uniform" if all(_is_whole(spec.get(bound)) for bound in ("min", "max")) else "uniform"


def _only(where: str, spec: dict[str, Any], kind: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for key in needed:
        if key not in spec:
            raise UserError(f"{where}: {kind} needs {' and '.join(needed)}; given are {', '.join(spec) or 'none'}")
    for key in spec:
        if key not in (*needed, *optional, "distribution"):
            raise UserError(f"{where}: {kind} has no {key}; it takes {', '.join((*needed, *optional))}")


def _categorical(
    where: str, spec: dict[str, Any], kind: str, field: str, config: ConfigDict, check: Check
) -> Distribution:
    weighted = kind.endswith("probabilities")
    _only(where, spec, kind, ("values", "probabilities") if weighted else ("values",))
    given = spec["values"]
    if not isinstance(given, list | tuple) or not given:
        raise UserError(f"{where}.values: {shown(given)} is not a list of at least one value")
    values = [_value(where, value, field, config, check) for value in given]
    if not weighted:
        return Distribution(choices=tuple(dict.fromkeys(values)))
    chances = spec["probabilities"]
    if not isinstance(chances, list | tuple) or not all(_is_number(p) and p >= 0 for p in chances):
        raise UserError(f"{where}.probabilities: {shown(chances)} is not a list of numbers of at least 0")
    if len(chances) != len(values) or not math.isclose(sum(chances), 1.0, abs_tol=1e-6):
        raise UserError(
            f"{where}.probabilities: {shown(chances)} does not give each of {len(values)} values a share of 1"
        )
    shares = {value: sum(p for v, p in zip(values, chances, strict=True) if v == value) for value in values}
    possible = {value: share for value, share in shares.items() if share > 0}
    return Distribution(choices=tuple(possible), weights=tuple(possible.values()))


def _numeric(where: str, spec: dict[str, Any], kind: str, field: str, config: ConfigDict, check: Check) -> Distribution:
    quantised = kind.startswith("q_")
    _only(where, spec, kind, ("min", "max"), ("q",) if quantised else ())
    for key in ("min", "max", "q"):
        if key in spec and not _is_number(spec[key]):
            raise UserError(f"{where}.{key}: {shown(spec[key])} is not a number")
    low, high = _bounds(where, kind, spec["min"], spec["max"])
    step = spec.get("q", 1) if quantised else int(kind == "int_uniform")
    if quantised and not step > 0:
        raise UserError(f"{where}.q: {shown(step)} is not above 0")
    if step and max(abs(low), abs(high)) / step > LARGEST:
        raise UserError(
            f"{where}: {shown(low)} to {shown(high)} in steps of {shown(step)} are more values than can be counted"
        )
    if kind == "int_uniform" and not (_is_whole(spec["min"]) and _is_whole(spec["max"])):
        raise UserError(
            f"{where}: int_uniform needs whole numbers, given are {shown(spec['min'])} and {shown(spec['max'])}"
        )
    kind_of_field = _type_of(field, config)
    if kind_of_field not in (int, float):
        raise UserError(f"{where}: {field} is not a number; give its choices as {{'values': […]}}")
    if kind_of_field is int and step != int(step):
        raise UserError(f"{where}: {field} takes whole numbers; q={shown(step)} gives others")
    if kind_of_field is int and not step:
        raise UserError(
            f"{where}: {field} takes whole numbers; use int_uniform or a q_ distribution, {kind} gives others"
        )
    if low == high and not step:
        return Distribution(choices=(_value(where, low, field, config, check),))
    distribution = Distribution(low=low, high=high, step=step, log="log" in kind, whole=kind_of_field is int)
    if step and distribution.log and round(low / step) == 0:
        raise UserError(
            f"{where}: q={shown(step)} rounds the lower end {low:.6g} to 0; take a smaller q or a larger min"
        )
    ends = (distribution.at(0), distribution.at((distribution.size or 1) - 1)) if step else (low, high)
    for end in ends:
        _value(where, end, field, config, check)
    return distribution


def _bounds(where: str, kind: str, low: float, high: float) -> tuple[float, float]:
    """The bounds as values; without `_values` W&B's log forms give exponents, and the inverse ones those of 1/x."""
    if low > high:
        raise UserError(f"{where}: an empty range, min={shown(low)} is above max={shown(high)}")
    if "log" not in kind:
        return low, high
    if kind.endswith("_values"):
        if low <= 0:
            raise UserError(f"{where}.min: {shown(low)} is not above 0, as {kind} needs")
        return low, high
    low, high = (-high, -low) if kind.startswith("inv") else (low, high)
    if low < -700 or high > 700:
        raise UserError(
            f"{where}: {kind} takes exponents of e from -700 to 700; log_uniform_values takes the values themselves"
        )
    return math.exp(low), math.exp(high)


def _type_of(field: str, config: ConfigDict) -> type:
    return int if field in SHAPE else type(config[field])


def _value(where: str, value: Any, field: str, config: ConfigDict, check: Check) -> Any:
    """A proposed value in the type of its field; `hidden_sizes` as '128-64', since a study's storage has no tuples."""
    wanted = _type_of(field, config)
    if wanted is tuple and field == "hidden_sizes":
        widths = sizes(value)
        check(field, widths)
        return "-".join(map(str, widths))
    if wanted in (int, float) and _is_number(value) and (wanted is float or value == int(value)):
        value = wanted(value)
    value = canonical(field, value)
    kind = type(value)
    if kind is not wanted or wanted is tuple:
        names = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}
        raise UserError(f"{where}: {shown(value)} is not {names.get(wanted, 'of a kind that can be searched')}")
    if field not in SHAPE:
        check(field, value)
    elif not SHAPE[field][0] <= value <= SHAPE[field][1]:
        raise UserError(f"{where}: {shown(value)} is not in {SHAPE[field][0]} … {SHAPE[field][1]}")
    return value


def _config_shape(config: ConfigDict, parameters: dict[str, Any], fixed: dict[str, Any]) -> tuple[int, int]:
    """Depth and width of the config, for a sweep that gives one of them only."""
    widths = set(config.hidden_sizes)
    given = parameters.keys() | fixed.keys()
    if "num_layers" in given and "hidden_size" not in given and len(widths) != 1:
        raise UserError(
            f"sweep.parameters: num_layers needs hidden_size, since hidden_sizes={config.hidden_sizes} has no one width"
        )
    return len(config.hidden_sizes), next(iter(widths), 0)


def _check_shapes(space: Space, check: Check) -> None:
    """Holds the smallest and the largest net of a searched depth × width to the check of `hidden_sizes`."""
    shape = [field for field in SHAPE if field in {**space.parameters, **space.fixed}]
    for end in (min, max) if shape else ():
        ends = {f: end(d.at(0), d.at((d.size or 1) - 1), *d.choices) for f, d in space.parameters.items() if f in shape}
        check("hidden_sizes", space.overrides(ends)["hidden_sizes"])


def _searchable(space: Space) -> None:
    """Refuses what the method cannot search, and what would never end."""
    for field, distribution in space.parameters.items():
        if space.method == "grid" and distribution.size is None:
            raise UserError(
                f"sweep.parameters.{field}: a grid over a continuous range; give values, int_uniform or q_uniform"
            )
        if space.method != "random" and distribution.weights:
            raise UserError(
                f"sweep.parameters.{field}: probabilities are for the method random, not for {space.method}"
            )
    if space.cap is None:
        raise UserError("sweep.run_cap: a continuous range never ends by itself; give a run_cap of at least 1")


def _early_terminate(given: Any) -> Hyperband | None:
    """min_iter: brackets min_iter·eta^i; max_iter and s: max_iter/eta^i, i = 1 … s. Iterations are epochs."""
    if not given:
        return None
    where = "sweep.early_terminate"
    _known_keys(where, given, ("type", "min_iter", "max_iter", "s", "eta", "strict"))
    if given.get("type") != "hyperband":
        raise unknown(f"{where}.type", given.get("type", ""), ("hyperband",))
    eta = given.get("eta", 3)
    if not _is_number(eta) or not eta > 1:
        raise UserError(f"{where}.eta: {shown(eta)} is not a number above 1")
    for key in ("min_iter", "max_iter", "s"):
        if key in given and not (_is_whole(given[key]) and 1 <= given[key] <= LARGEST):
            raise UserError(f"{where}.{key}: {shown(given[key])} is not a whole number of at least 1")
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
    return Hyperband(brackets, float(eta), _truth(f"{where}.strict", given.get("strict", False)), given)


def _spec(field: str, distribution: Distribution) -> dict[str, Any]:
    """W&B's form of a distribution, bounds as values."""
    if distribution.choices:
        plain = [_flag(sizes(value)) if field == "hidden_sizes" else value for value in distribution.choices]
        return {"values": plain} | ({"probabilities": list(distribution.weights)} if distribution.weights else {})
    if distribution.step == 1 and not distribution.log:
        return {"distribution": "int_uniform", "min": int(distribution.low), "max": int(distribution.high)}
    kind = ("q_" if distribution.step else "") + ("log_uniform_values" if distribution.log else "uniform")
    quantum = {"q": distribution.step} if distribution.step else {}
    return {"distribution": kind, "min": distribution.low, "max": distribution.high} | quantum


def _flag(value: Any) -> str:
    """A value as main.py reads it from the command line; a tuple as 128,64 and the empty one as ()."""
    return str(value) if not isinstance(value, tuple) else ",".join(map(str, value)) or "()"
