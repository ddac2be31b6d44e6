"""The Python interface: nets, gradients, runs, populations and sweeps, each in one call."""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from mlp_jax import gradients, model
from mlp_jax.data.arrays import OWN, Dataset, from_arrays
from mlp_jax.data.datasets import load as load_dataset
from mlp_jax.data.datasets import load_test
from mlp_jax.errors import Diverged, UserError, not_one_of, shown
from mlp_jax.files.workdir import read_if_there, read_lines
from mlp_jax.hparams import split_config
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.evaluation import evaluate_on
from mlp_jax.lanes.population import Member, Population
from mlp_jax.losses import LOSSES
from mlp_jax.model import ACTIVATIONS, INITIALIZERS, Params
from mlp_jax.results import Net, Run, Runs, Sweep, precision_of
from mlp_jax.runs import config as configs
from mlp_jax.runs import run as runs
from mlp_jax.runs import runtime, saved
from mlp_jax.runs.defaults import FIELDS
from mlp_jax.runs.seeds import each_seed
from mlp_jax.sweeps import sweep as sweeps

Config: TypeAlias = "str | Path | ConfigDict | Mapping[str, Any] | None"


def init(key: Array, sizes: Sequence[int], init: str = "he", init_scale: float = 0.01, dtype: Any = None) -> Params:
    """Parameters of a net with these widths (inputs, hidden …, classes): a tuple of `Layer(w, b)`.

    `w` is (in, out), drawn as `init` says (random: N(0, init_scale²); xavier: U(±√(6/(in+out))); he: N(0, 2/in);
    zeros), `b` is zero. `key` is a key of `jax.random.key`. `dtype` is float32 where nothing is said.

    >>> params = init(jax.random.key(0), (784, 128, 10))
    >>> [layer.w.shape for layer in params]
    [(784, 128), (128, 10)]
    """
    runtime.prepare_library()
    _one_of("init", init, INITIALIZERS)
    widths = configs.check("hidden_sizes", tuple(sizes))
    if len(widths) < 2:
        raise UserError(f"sizes: {shown(widths)} are not at least two widths, as (784, 128, 10)")
    return model.init_params(key, widths, init, jnp.asarray(init_scale), jnp.dtype(dtype or jnp.float32))


def forward(params: Params, x: Any, activation: str = "relu") -> Array:
    """Logits (batch, classes) of x (batch, in): z_l = h_{l−1}·w_l + b_l, h_l = f(z_l), without f in the last layer.

    >>> params = init(jax.random.key(0), (4, 8, 3))
    >>> forward(params, jnp.ones((5, 4))).shape
    (5, 3)
    """
    runtime.prepare_library()
    _one_of("activation", activation, ACTIVATIONS)
    return model.forward(params, _batch(params, x), activation)[0]


def grad(
    params: Params,
    x: Any,
    y: Any,
    *,
    loss: str = "cross_entropy",
    activation: str = "relu",
    weight_decay: Any = 0.0,
    method: str = "autodiff",
) -> tuple[Array, Params]:
    """The objective of a batch and its gradient by the parameters, by `jax.grad` or by hand (method="backprop").

    x is (batch, in); y whole numbers (batch,) or distributions over the classes (batch, classes). The objective is the
    mean loss of the batch plus λ/2·‖W‖², λ = `weight_decay`, weights only.

    >>> params = init(jax.random.key(0), (4, 8, 3))
    >>> x, y = jnp.ones((2, 4)), jnp.array([0, 2])
    >>> _, by_jax = grad(params, x, y)
    >>> _, by_hand = grad(params, x, y, method="backprop")
    >>> bool(jnp.allclose(by_jax[0].w, by_hand[0].w))
    True
    """
    runtime.prepare_library()
    for name, given, allowed in (
        ("loss", loss, LOSSES),
        ("activation", activation, ACTIVATIONS),
        ("method", method, gradients.GRADIENTS),
    ):
        _one_of(name, given, allowed)
    x = _batch(params, x)
    hidden = tuple(layer.w.shape[1] for layer in params[:-1])
    config = configs.complete({"hidden_sizes": hidden, "loss": loss, "activation": activation})
    static, hparams = split_config(config, params[0].w.shape[0], params[-1].w.shape[1], len(x))
    static = static._replace(l2=not (isinstance(weight_decay, int | float) and weight_decay == 0))
    hparams = hparams._replace(weight_decay=jnp.asarray(weight_decay, x.dtype))
    targets = _targets(y, len(x), static.sizes[-1], x.dtype)
    step = gradients.Step(x, targets, jnp.full(len(x), 1 / len(x), x.dtype))
    (value, _), result = gradients.GRADIENTS[method](static, hparams, params, step)
    return value, result


def train(
    config: Config = None,
    *,
    data: Sequence[Any] | None = None,
    sample_weight: Any = None,
    workdir: str | Path | None = None,
    **fields: Any,
) -> Any:
    """Trains what a config says: a `Run`, or `Runs` where several are asked for.

    `config` is the path of a config file, a ConfigDict or a dictionary; `fields` override it, and what neither names is
    as in configs/default.py. `data` is (x, y) or (x, y, x_test, y_test): x of shape (n, …), y whole numbers or strings;
    without it the config's `dataset` is trained on. `sample_weight` (n,) weighs the rows of x.

    A list for a field trains one net for each of its values, several lists every combination, and `seeds=3` each of
    those from three seeds: all as one population. With a `workdir` the run is main.py's own, files, resume and all;
    without one nothing is written. The same config and seed give the same bits as main.py. Raises `UserError` for what
    makes no sense, and `Diverged` where the loss of a single run is not finite.

    >>> run = train(dataset="digits", hidden_sizes=(32,), num_epochs=2)
    >>> run.history["val/accuracy"].shape
    (2,)
    >>> runs = train(dataset="digits", num_epochs=1, learning_rate=[1e-3, 1e-2], seeds=2)
    >>> [run.config.learning_rate for run in runs]
    [0.001, 0.001, 0.01, 0.01]
    """
    fields = _with_lists(fields, data)
    axes = {name: value for name, value in fields.items() if _varies(name, value)}
    if "seeds" in axes:
        given = shown(axes["seeds"])
        raise UserError(f"seeds: {given} is not how many; allowed is a whole number, or seed={given} for these")
    start = as_config(config, {name: value for name, value in fields.items() if name not in axes})
    if found := {"sweep", "experiments"} & set(start):
        raise UserError(f"config: it has {found.pop()!r}; allowed is a run; mlp_jax.sweep searches")
    own: list[ConfigDict] = [
        as_config(start, dict(zip(axes, values, strict=True))) for values in product(*axes.values())
    ]
    if workdir is not None and axes:
        raise UserError(f"workdir: {shown(str(workdir))} holds one run, not a list of {', '.join(axes)}; allowed: None")
    with session(start):
        dataset = _dataset(start, data, sample_weight, workdir)
        if workdir is not None:
            runs.run(start, Path(workdir), dataset)
            return load(workdir)
        for asked in own:
            runs.check_against(asked, dataset)
        members = [Member(each) for asked in own for each in each_seed(asked)]
        trained = [run for run, _ in train_members(dataset, members)]
    if axes or start.seeds > 1:
        return Runs(trained, [*axes, *(["seed"] if start.seeds > 1 else [])])
    return check_converged(trained[0])


def load(workdir: str | Path) -> Any:
    """The `Run` that a workdir holds; of a run of several seeds its `Runs`."""
    folder = Path(workdir)
    runtime.prepare_library()
    found = saved.read_all(folder)
    summary = read_if_there(folder / runs.SUMMARY)
    result = []
    for one in found:
        classes: np.ndarray = np.asarray(one.card.get("classes", range(len(one.card["class_names"]))))
        of_seed = {row["seed"]: row for row in summary.get("seeds", ())}.get(one.config.seed, {})
        figures = {name: value for name, value in summary.items() if name != "seeds"} | of_seed
        result.append(Run(one.config, Net(one.static, one.params, classes, one.card["scale"]), one.records, figures))
    return Runs(result, ["seed"]) if "seeds" in summary else result[0]


def sweep(
    config: Config = None,
    *,
    trials: int = 60,
    method: str = "random",
    data: Sequence[Any] | None = None,
    sample_weight: Any = None,
    workdir: str | Path | None = None,
    **fields: Any,
) -> Sweep:
    """A search over configs: its trials, and the best by validation.

    A list for a field is searched over its values, a dictionary as W&B's dialect reads it ({"min": 1e-4, "max": 1e-1,
    "distribution": "log_uniform_values"}); `method` is random, grid or bayes. A `config` with a `sweep` brings its own.
    The other arguments are those of `train`. With a `workdir` everything that main.py writes is there.

    >>> found = sweep(dataset="digits", num_epochs=1, learning_rate=[1e-3, 1e-2], optimizer=["sgd", "adam"], trials=3)
    >>> len(found), found.best.optimizer in ("sgd", "adam")
    (3, True)
    """
    fields = _with_lists(fields, data)
    searched = {
        name: dict(value) if isinstance(value, Mapping) else {"values": tuple(value)}
        for name, value in fields.items()
        if name != "sweep" and (isinstance(value, Mapping) or _varies(name, value))
    }
    start = as_config(config, {name: value for name, value in fields.items() if name not in searched})
    asked: dict[str, Any] = start.sweep.to_dict() if "sweep" in start else {"method": method}
    parameters = {**asked.get("parameters", {}), **searched}
    start = as_config(start, {"sweep": {**asked, "parameters": parameters, "run_cap": trials}})
    with session(start), contextlib.ExitStack() as stack:
        dataset = _dataset(start, data, sample_weight, workdir)
        if workdir is None:
            workdir = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        found = sweeps.run(start, Path(workdir), dataset)
        rows = read_lines(Path(workdir) / "trials.jsonl")
    return Sweep(start, rows, configs.complete(found["config"]) if found else None)


def check_converged(run: Run) -> Run:
    """The run; raises `Diverged` for one whose loss became not finite."""
    if run.diverged:
        epoch, rate = len(run.records), run.config.learning_rate
        raise Diverged(f"the loss of epoch {epoch} is not finite; learning_rate={rate:g} is too large")
    return run


@contextlib.contextmanager
def session(config: ConfigDict) -> Iterator[None]:
    runtime.prepare_library()
    with precision_of(config):
        yield


@cache
def _compiler() -> Compiler:
    """The programs of this process: the second run of a shape compiles nothing."""
    return Compiler()


def train_members(dataset: Dataset, given: Sequence[Member]) -> list[tuple[Run, Member]]:
    """A run for each member, trained to its end in one population and tested once; and the member after it."""
    compiler, first = _compiler(), given[0].config
    before = compiler.seconds
    population = Population(dataset, first.mesh, lanes=first.lanes, compiler=compiler)
    machine = runtime.describe()
    members: dict[int, Member] = dict(population.train(given))
    shared = {"compile_seconds": compiler.seconds - before, **machine}
    pixels, labels = load_test(dataset)
    result = []
    for _, member in sorted(members.items()):
        net, figures = None, {"dataset": dataset.name}
        if not member.diverged and member.lane is not None:
            static = population.static(member.config)
            params = member.lane.best.params
            net = Net(
                static,
                params,
                dataset.classes if len(dataset.classes) else np.arange(len(dataset.class_names)),
                dataset.scale,
            )
            tests = [evaluate_on(static, params, pixels, labels, dataset.scale)] if len(labels) else []
            figures |= runs.run_figures(member.lane, list(member.records), tests)
        result.append((Run(member.config, net, member.records, {**figures, **shared}), member))
    return result


def as_config(start: Config, fields: Mapping[str, Any]) -> ConfigDict:
    """The config that `start` names or is, with the fields in place, all checked."""
    if not isinstance(start, str | Path | ConfigDict | Mapping | None):
        what = f"{type(start).__name__} is not the path of a config file, a ConfigDict or a dictionary"
        raise UserError(f"config: {what}; arrays are given as data=(x, y)")
    found = configs.load(start) if isinstance(start, str | Path) else start or {}
    given = found.to_dict() if isinstance(found, ConfigDict) else dict(found)
    config = configs.complete({**given, **fields})
    configs.validate(config)
    return config


def _with_lists(fields: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """The fields with arrays and ranges as the lists that they mean, and the dataset that `data` is."""
    plain = {
        name: list(value) if isinstance(value, range) else value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in fields.items()
    }
    return plain if data is None else {**plain, "dataset": OWN}


def _varies(field: str, value: Any) -> bool:
    """Whether a value is a list of values: a list, of a tuple field a list of tuples."""
    if not isinstance(value, list):
        return False
    if not value:
        raise UserError(f"{field}: [] is a list without a value")
    nested = isinstance(value[0], list | tuple)
    return nested or not isinstance(FIELDS.get(field), tuple)


def _dataset(config: ConfigDict, data: Sequence[Any] | None, sample_weight: Any, workdir: str | Path | None) -> Dataset:
    if data is None:
        if sample_weight is not None:
            raise UserError("sample_weight: it weighs the rows of data=(x, y), and none are given")
        if workdir is not None:
            return runs.load_for(config, Path(workdir))
        return load_dataset(config.dataset, config.data_dir, config.fallback_dataset)
    if not isinstance(data, tuple | list) or len(data) not in (2, 4):
        raise UserError(f"data: {type(data).__name__} is not (x, y) or (x, y, x_test, y_test)")
    x, y, *test = data
    x_test, y_test = test or (None, None)
    return from_arrays(x, y, x_test, y_test, sample_weight)


def _one_of(name: str, given: Any, allowed: Any) -> None:
    if given not in allowed:
        raise not_one_of(name, given, allowed)


def _batch(params: Params, x: Any) -> Array:
    """x as the network multiplies it, in the dtype of the weights."""
    x = jnp.asarray(x)
    inputs = params[0].w.shape[0]
    if x.ndim != 2 or x.shape[1] != inputs:
        raise UserError(f"x: an array of shape {x.shape} is not (batch, {inputs}), as the first layer takes it")
    return x.astype(params[0].w.dtype)


def _targets(y: Any, batch: int, classes: int, dtype: Any) -> Array:
    y = jnp.asarray(y)
    if y.shape == (batch, classes) and jnp.issubdtype(y.dtype, jnp.floating):
        return y.astype(dtype)
    if y.shape != (batch,) or not jnp.issubdtype(y.dtype, jnp.integer):
        what = f"{y.dtype} of shape {y.shape}"
        raise UserError(f"y: {what} is neither whole numbers ({batch},) nor distributions ({batch}, {classes})")
    if not isinstance(y, jax.core.Tracer):
        low, high = int(np.asarray(y).min()), int(np.asarray(y).max())
        if low < 0 or high >= classes:
            raise UserError(f"y: labels from {low} to {high}; the net has classes 0 to {classes - 1}")
    return jax.nn.one_hot(y, classes, dtype=dtype)
