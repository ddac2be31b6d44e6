"""A network in the assignment's form, best_model.npy and best_config.json, written from a run and read from anybody."""

import io
import pickle
import pickletools
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError, not_one_of, shown
from mlp_jax.files.workdir import read_bytes, read_if_there, reason, write_bytes, write_json
from mlp_jax.runs.config import FILE, complete, from_json
from mlp_jax.runs.spelling import canonical, canonical_field

CONFIG = "best_config.json"
FLAGS = {  # of the assignment, by our fields
    "dataset": "dataset", "num_epochs": "epochs", "batch_size": "batch_size", "loss": "loss", "optimizer": "optimizer",
    "learning_rate": "learning_rate", "momentum": "momentum", "beta": "beta", "beta1": "beta1", "beta2": "beta2",
    "eps": "epsilon", "weight_decay": "weight_decay", "init": "weight_init", "num_layers": "num_layers",
    "hidden_size": "hidden_size", "activation": "activation",
}  # fmt: skip
WORDS = {"mse": "mean_squared_error", "nesterov": "nag"}  # what the assignment says
LARGEST = 256 * 2**20  # bytes of a file of weights; those of the assignment have less than 4 MiB

Arrays = dict[str, np.ndarray]


class Network(NamedTuple):
    """Weights (in, out) and biases (out,), layer by layer, and the config beside them.

    `turned` says that the weights were stored as (out, in).
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    config: dict[str, Any]  # by our fields, in our spelling, as far as they are known
    turned: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.layers[0][0].shape[0], *(w.shape[1] for w, _ in self.layers))


# ---- arrays from a pickle that may do nothing else


class _Dtype:
    """Stands for a dtype while a pickle is read."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


class _Array:
    """Stands for an array while a pickle is read."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Knows the three names that a pickled array needs, and answers with stand-ins: nothing of NumPy's is called."""

    def find_class(self, module: str, name: str) -> Any:
        names = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Dtype}
        if module not in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") or name not in names:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return names[name]


def read_arrays(path: Path) -> Arrays:
    """The dictionary of arrays that `np.save(path, {"W0": …})` wrote.

    Raises UserError for anything else: a pickle is read as far as it is such a dictionary, and nothing in it is called.
    """
    allowed = "allowed is a dictionary of arrays of numbers, saved by np.save"
    try:
        content = read_bytes(path)
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST} bytes")
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if dtype.kind != "O" or shape != ():
            raise ValueError(f"it holds one array of shape {shape}")
        pickled = content[file.tell() :]
        for code, argument, _ in pickletools.genops(pickled):  # else an index of 2³² would ask for a table as long
            if "PUT" in code.name and isinstance(argument, int) and argument > len(pickled):
                raise ValueError("its pickle is damaged")
        outer = _Reader(io.BytesIO(pickled)).load()
        return _dictionary(outer)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except Exception as error:  # whatever bytes make of a reader of pickles
        raise UserError(f"{path}: refused: {reason(error)}; {allowed}") from error


def _dictionary(outer: object) -> Arrays:
    inner = outer.state[4][0] if isinstance(outer, _Array) and len(outer.state) == 5 else None
    if not isinstance(inner, dict):
        raise ValueError(f"it holds {type(inner).__name__}, no dictionary")
    result: Arrays = {}
    for name, value in inner.items():
        if not isinstance(name, str) or not isinstance(value, _Array) or len(value.state) != 5:
            raise ValueError(f"{shown(name)} is no array")
        _, shape, dtype, fortran, data = value.state
        if not isinstance(dtype, _Dtype) or not re.fullmatch(r"f[248]|[iu][1248]", dtype.code):
            raise ValueError(f"{shown(name)} is no array of numbers")
        order = dtype.order if dtype.order in ("<", ">") else "="
        flat = np.frombuffer(data, np.dtype(order + dtype.code))
        result[name] = flat.reshape(shape, order="F" if fortran else "C").astype(np.float64)
    return result


# ---- the network


def read(path: Path) -> Network:
    """The network of best_model.npy and the best_config.json beside it. UserError names what does not fit."""
    layers, turned = _layers(path, read_arrays(path))
    config = _known(read_if_there(path.with_name(CONFIG)))
    network = Network(layers, config, turned)
    hidden, said = network.sizes[1:-1], config.get("hidden_size")
    if isinstance(said, int):
        said = [said] * int(config.get("num_layers", len(hidden)))
    if isinstance(said, list | tuple) and said and tuple(said) != hidden:
        many = len(said) == 1 and isinstance(config.get("num_layers"), int)
        if not many or tuple(said) * config["num_layers"] != hidden:
            raise UserError(f"{path}: its hidden layers have {hidden} units; {CONFIG} says {shown(said)}")
    return network


def _layers(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[tuple[tuple[np.ndarray, np.ndarray], ...], bool]:
    for name in arrays:
        if not re.fullmatch(r"[Wb]\d{1,4}", name):
            raise UserError(f"{path}: {name!r} is not a name of an array; allowed are W0, b0, W1, b1 …")
    numbers = sorted({int(name[1:]) for name in arrays})
    first = numbers[0] if numbers else 0
    for name in (f"{kind}{number}" for number in range(first, first + max(1, len(numbers))) for kind in "Wb"):
        if name not in arrays:
            raise UserError(f"{path}: there is no {name} among {', '.join(sorted(arrays)) or 'no arrays'}")
    weights = [arrays[f"W{number}"] for number in numbers]
    biases = [arrays[f"b{number}"] for number in numbers]
    for number, w, b in zip(numbers, weights, biases, strict=True):
        if w.ndim != 2 or not w.size:
            raise UserError(f"{path}: W{number} has the shape {w.shape}; allowed is (in, out) or (out, in)")
        if not np.isfinite(w).all() or not np.isfinite(b).all():
            raise UserError(f"{path}: W{number} or b{number} holds a value that is not finite")
    for turned in (False, True):
        ways = [w.T if turned else w for w in weights]
        chained = all(a.shape[1] == b.shape[0] for a, b in pairwise(ways))
        if chained and all(b.size == w.shape[1] for w, b in zip(ways, biases, strict=True)):
            return tuple((w, b.ravel()) for w, b in zip(ways, biases, strict=True)), turned
    shapes = ", ".join(f"W{n} {w.shape} b{n} {b.shape}" for n, w, b in zip(numbers, weights, biases, strict=True))
    raise UserError(f"{path}: the shapes do not follow one another, neither (in, out) nor (out, in): {shapes}")


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in config.items():
        try:
            field = canonical_field(name, FLAGS)
        except UserError:
            continue  # their own
        result[field] = canonical(field, value)
    return result


# ---- from a run, and to its figures


def write(folder: Path, output: Path) -> None:
    """Writes the run's best parameters to `output`, and its config by the assignment's flags to best_config.json."""
    from mlp_jax.runs import saved

    if output.suffix != ".npy":
        raise UserError(f"--output: {str(output)!r} is not the name of an .npy file, as best_model.npy")
    run = saved.read(folder)
    static, params = run.static, run.params
    config = from_json(folder / FILE)
    if static.norm != "none":
        raise UserError(f"norm: {static.norm!r} has no place in the assignment's form; allowed: none")
    arrays: Arrays = {}
    for number, layer in enumerate(params):
        dtype = np.float64 if static.precision == "float64" else np.float32
        arrays |= {f"W{number}": np.asarray(layer.w, dtype), f"b{number}": np.asarray(layer.b, dtype)}
    hidden = list(config.hidden_sizes)
    fields: dict[str, Any] = {**config, "num_layers": len(hidden), "hidden_size": hidden}
    fields |= {field: WORDS[config[field]] for field in ("loss", "optimizer") if config[field] in WORDS}
    buffer = io.BytesIO()
    np.save(buffer, np.array(arrays, dtype=object), allow_pickle=True)
    write_bytes(output, buffer.getvalue())
    write_json(output.with_name(CONFIG), {flag: fields[field] for field, flag in FLAGS.items()})
    print(f"written to {output} and {output.with_name(CONFIG)}")


def as_run(network: Network) -> tuple[Any, Any]:
    """The network as the library has it: its `Static` and its `Params` in float32."""
    import jax.numpy as jnp

    from mlp_jax.hparams import split_config
    from mlp_jax.model import ACTIVATIONS, Layer

    activation = network.config.get("activation")
    if len(network.layers) > 1 and activation not in ACTIVATIONS:
        raise not_one_of(f"{CONFIG}: activation", activation, ACTIVATIONS)
    fields = {"hidden_sizes": network.sizes[1:-1]} | ({"activation": activation} if activation else {})
    static, _ = split_config(complete(fields), network.sizes[0], network.sizes[-1], 1)
    return static, tuple(Layer(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in network.layers)


def evaluate(path: Path, data_dir: str, name: str = "") -> None:
    """Prints what the network of best_model.npy makes of a dataset's test set, with pixels from 0 to 1.

    The dataset is `name`, else the one that best_config.json names, else MNIST.
    """
    from mlp_jax.data.datasets import load, load_test
    from mlp_jax.lanes.evaluation import evaluate_on
    from mlp_jax.runs.saved import table

    network = read(path)
    static, params = as_run(network)
    name = name or str(network.config.get("dataset", "mnist"))
    dataset = load(name, data_dir, "")
    inputs, classes = dataset.train_images.shape[1], len(dataset.class_names)
    if (inputs, classes) != (static.sizes[0], static.sizes[-1]):
        raise UserError(
            f"dataset: {name!r} has {inputs} pixels and {classes} classes; the network in {path} takes "
            f"{static.sizes[0]} and knows {static.sizes[-1]}"
        )
    print(table(dataset, "test", evaluate_on(static, params, *load_test(dataset), dataset.scale)))
