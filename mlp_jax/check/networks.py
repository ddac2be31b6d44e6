"""Somebody's network behind one interface: logits, gradients and loss of parameters and a batch in our own form.

Their conventions (the form of the parameters, (in, out) or (out, in), rows or columns, labels, order of layers) are
found by trying them, and kept as words for the report.
"""

import argparse
import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlp_jax.check import reference as ours
from mlp_jax.check.mistakes import of_family
from mlp_jax.check.names import (
    ACTIVATION_SPELLINGS,
    LOSS_SPELLINGS,
    OPTIMIZER_SPELLINGS,
    Misfit,
    Unclear,
    call,
    parameters_of,
    plain,
    roles_of,
)

Array = np.ndarray
Layers = list[tuple[Array, Array]]
LABELS = ("one-hot", "integers")


class Case(NamedTuple):
    """A small seeded network and a batch."""

    params: Layers
    x: Array
    y: Array  # one-hot


def case(sizes: Sequence[int], batch: int, seed: int) -> Case:
    """Weights of variance 1.4/in, biases of 0.3: no unit is saturated, and ReLU has units on both sides."""
    rng = np.random.default_rng((seed, batch, *sizes))
    params = [(rng.normal(size=(n, m)) * np.sqrt(1.4 / n), rng.normal(size=m) * 0.3) for n, m in pairwise(sizes)]
    return Case(params, rng.normal(size=(batch, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=batch)])


class Network(Protocol):
    """What the checks need of a network."""

    classes: int
    inputs: int | None  # the only width of input that it takes; None: any
    activations: tuple[str, ...]
    losses: tuple[str, ...]
    logits_required: bool  # its interface promises logits; else probabilities are a convention
    gives: str  # logits or probabilities
    said: dict[str, str]  # the conventions that were found

    def logits(self, activation: str, loss: str, params: Layers, x: Array) -> Array: ...
    def gradients(
        self, activation: str, loss: str, params: Layers, x: Array, y: Array, labels: str, decay: float = 0.0
    ) -> Layers: ...
    def loss_functions(self, loss: str) -> list[Callable[..., Any]]: ...


def arrays_in(result: Any, shape: tuple[int, ...], depth: int = 0) -> Iterator[Array]:
    """Every array of a shape, or of the shape transposed, in what a function returned."""
    if isinstance(result, np.ndarray) and result.dtype != object:
        if result.shape == shape or result.shape == shape[::-1]:
            yield np.asarray(result, np.float64)
    elif depth < 3 and isinstance(result, dict):
        for part in result.values():
            yield from arrays_in(part, shape, depth + 1)
    elif depth < 3 and isinstance(result, list | tuple | np.ndarray):
        parts = list(result)
        for part in parts if isinstance(result, tuple) else parts[::-1]:  # a list of layers ends with the output
            yield from arrays_in(part, shape, depth + 1)


_W, _B = r"(?:w|weights?)", r"(?:b|bias|biases)"
_KEY = re.compile(rf"^(?:d|grads?|delta)?_?({_W}|{_B})_?(\d*)$")


def _by_key(result: dict[Any, Any]) -> tuple[list[Any], list[Any]] | None:
    """The weights and biases of {"W0": …, "b0": …}, {"dW": […], "db": […]} or one layer's {"W": …, "b": …}."""
    weights: dict[int, Any] = {}
    biases: dict[int, Any] = {}
    for key, value in result.items():
        found = _KEY.match(str(key).lower())
        if found:
            (weights if found[1].startswith("w") else biases)[int(found[2] or -1)] = value
    if not weights or weights.keys() != biases.keys():
        return None
    if set(weights) == {-1}:
        w, b = weights[-1], biases[-1]
        return (list(w), list(b)) if isinstance(w, list | tuple) else ([w], [b])
    return [weights[k] for k in sorted(weights)], [biases[k] for k in sorted(biases)]


def unpackings(result: Any, n: int, depth: int = 0) -> Iterator[tuple[list[Any], list[Any]]]:
    """The ways to read n layers' weights and biases out of what a function returned."""
    if isinstance(result, dict):
        found = _by_key(result)
        if found:
            yield found
        elif depth < 2:
            for part in result.values():
                yield from unpackings(part, n, depth + 1)
        return
    if not isinstance(result, list | tuple) and not (isinstance(result, np.ndarray) and result.dtype == object):
        return
    parts = list(result)
    if len(parts) == 2 and all(hasattr(part, "__len__") and len(part) == n for part in parts):
        yield list(parts[0]), list(parts[1])
    if len(parts) == n:
        pairs: list[Any] = [_by_key(part) if isinstance(part, dict) else part for part in parts]
        pairs = [(p[0][0], p[1][0]) if p and isinstance(p, tuple) and isinstance(p[0], list) else p for p in pairs]
        if all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            yield [p[0] for p in pairs], [p[1] for p in pairs]
    if n == 1 and len(parts) == 2:
        yield [parts[0]], [parts[1]]
    if len(parts) == 2 * n:  # dW1, db1, dW2, db2 …
        yield parts[::2], parts[1::2]
    if depth < 2:
        for part in parts:
            yield from unpackings(part, n, depth + 1)


class Read(NamedTuple):
    """Gradients in our own form, and how they came."""

    layers: Layers
    last_first: bool
    transposed: bool


def read_gradients(
    result: Any, shapes: Sequence[tuple[int, int]], out_in: bool, known: tuple[bool, bool] | None = None
) -> Read:
    """The gradients of weights of our `shapes`; `known` is (last_first, transposed) where the shapes do not tell."""
    n = len(shapes)
    for ws, bs in unpackings(result, n):
        try:
            arrays = [(np.asarray(w, np.float64), np.asarray(b, np.float64)) for w, b in zip(ws, bs, strict=True)]
        except (TypeError, ValueError):
            continue
        for last_first, transposed in [known] if known else product((False, True), repeat=2):
            layers = arrays[::-1] if last_first else arrays
            turned = [(w.T if out_in != transposed else w, b) for w, b in layers]
            if len(turned) == n and all(
                w.shape == shape and b.size == shape[1] for (w, b), shape in zip(turned, shapes, strict=True)
            ):
                return Read([(w, b.reshape(-1)) for w, b in turned], last_first, transposed)
    raise Misfit(f"its gradients are not those of layers of shape {', '.join(map(str, shapes))}")


def one_line(error: BaseException) -> str:
    """An exception as the report quotes it."""
    text = " ".join(str(error).split())[:160]
    if isinstance(error, Misfit | Unclear):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# ---------------------------------------------------------------------------------------------------- plain functions


class Form(NamedTuple):
    """How plain functions take parameters and batches."""

    form: str
    out_in: bool
    columns: bool
    bias: str

    def pack(self, params: Layers) -> Any:
        shape = {"(n,)": (-1,), "(1, n)": (1, -1), "(n, 1)": (-1, 1)}[self.bias]
        ws = [(w.T if self.out_in else w).copy() for w, _ in params]
        bs = [b.copy().reshape(shape) for _, b in params]
        return FORMS[self.form](ws, bs)

    @property
    def words(self) -> dict[str, str]:
        return {
            "parameters": self.form,
            "weights": "(out, in)" if self.out_in else "(in, out)",
            "batches": "an example a column" if self.columns else "an example a row",
            "biases": self.bias,
        }


FORMS: dict[str, Callable[[list[Array], list[Array]], Any]] = {
    "a list of (W, b)": lambda ws, bs: list(zip(ws, bs, strict=True)),
    'a list of {"W", "b"}': lambda ws, bs: [{"W": w, "b": b} for w, b in zip(ws, bs, strict=True)],
    '{"W0", "b0", …}': lambda ws, bs: _numbered(ws, bs, 0),
    '{"W1", "b1", …}': lambda ws, bs: _numbered(ws, bs, 1),
    '{"W": […], "b": […]}': lambda ws, bs: {"W": ws, "b": bs},
    "(weights, biases)": lambda ws, bs: (ws, bs),
    '{"weights": […], "biases": […]}': lambda ws, bs: {"weights": ws, "biases": bs},
    'a list of {"w", "b"}': lambda ws, bs: [{"w": w, "b": b} for w, b in zip(ws, bs, strict=True)],
}


def _numbered(ws: list[Array], bs: list[Array], first: int) -> dict[str, Array]:
    named = {f"W{i}": w for i, w in enumerate(ws, first)}
    return named | {f"b{i}": b for i, b in enumerate(bs, first)}


ROLES = ("params", "biases", "x", "y", "logits", "cache", "activation", "loss", "decay")


class Functions:
    """Plain functions `forward(params, x, …)` and `gradients(params, x, y, …)`; one of them may be absent."""

    logits_required = False
    inputs: int | None = None
    classes = 6
    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    said: dict[str, str]

    def __init__(
        self,
        forward: Callable[..., Any] | None,
        gradients: Callable[..., Any] | None,
        losses: dict[str, list[Callable[..., Any]]] | None = None,
        activation_functions: dict[str, Callable[..., Any]] | None = None,
        orders: dict[str, list[str]] | None = None,
        check: dict[str, Any] | None = None,
    ):
        orders, self.check = orders or {}, check or {}
        self.forward, self.backward, self._losses = forward, gradients, losses or {}
        self._functions = activation_functions or {}
        self.forward_roles = roles_of(forward, ROLES, orders.get("forward", ())) if forward else {}
        self.roles = roles_of(gradients, ROLES, orders.get("gradients", ())) if gradients else {}
        self.gives, self.said, self._which = "logits", {}, 0
        self._known: tuple[bool, bool] | None = None
        self.order_open = False  # whether the shapes of its gradients say nothing of their order
        self.spelled: dict[tuple[str, str], Any] = {}
        self.form = Form("a list of (W, b)", False, False, "(n,)")
        self._settle()

    # Which conventions: those under which the forward pass is ours; else a mistake of ours; else the shapes fit.
    def _settle(self) -> None:
        test = case((5, 3, 4, self.classes), 7, 1)
        both = [f for f in (self.forward, self.backward) if f]
        takes_name = any("activation" in roles for roles in (self.forward_roles, self.roles))
        names = tuple(ours.ACTIVATIONS)
        separate = "biases" in (self.forward_roles or self.roles)
        forms = ["(weights, biases)"] if separate else list(FORMS)
        fits: list[tuple[int, Form, str, str, int]] = []
        errors: list[BaseException] = []
        for form in (Form(*one) for one in product(forms, (False, True), (False, True), ("(n,)", "(1, n)", "(n, 1)"))):
            for name in names[1:4] if takes_name else ["tanh"]:
                self.form = form
                try:
                    quality = self._try(form, name, names, test, takes_name)
                except Unclear:
                    raise
                except Exception as error:
                    errors.append(error)
                    continue
                fits += [(rank, form, *found) for rank, *found in quality]
                if any(rank == 0 for rank, *_ in quality):
                    break
            if any(rank == 0 for rank, *_ in fits):
                break
        if not fits and not errors:
            raise Misfit(f"{both[0].__name__} gives no array of shape {(len(test.x), self.classes)}, whatever the form")
        if not fits:
            told = [e for e in errors if not isinstance(e, KeyError | IndexError | AttributeError)] or errors
            raise Misfit(f"no form of parameters fits {both[0].__name__}: {one_line(told[0])}")
        _rank, self.form, activation, self.gives, self._which = min(fits, key=lambda fit: fit[0])
        self.said = self.form.words
        if self.forward:
            self.said["forward gives"] = self.gives
        self.activations = self._accepted(test, names) if takes_name else (activation,)
        self.unsaid = not takes_name and not self.forward  # its activation shows in its gradients alone
        if self.unsaid:
            self.activations = names
        self.losses = self._accepted_losses(test)

    def _try(self, form: Form, name: str, names: Sequence[str], test: Case, takes: bool) -> list[Any]:
        """(rank, activation, gives, which) of each reading of the output: 0 is ours, 1 a known mistake, 2 a shape."""
        shape = (len(test.x), self.classes)
        if not self.forward:
            read = self._read(name, "cross_entropy", test, LABELS[0]), name
            return [(1, name, "logits", 0)] if read else []
        found = list(arrays_in(self._run(name, "", test.params, test.x), shape))
        fits = []
        for which, out in enumerate(found):
            out = out.T if form.columns else out
            if out.shape != shape:
                continue
            for activation in [name] if takes else names:
                z = ours.forward(test.params, test.x, activation)[0]
                for gives, expected in (("logits", z), ("probabilities", ours.softmax(z))):
                    if np.allclose(out, expected, rtol=1e-5, atol=1e-7):
                        fits.append((0, activation, gives, which))
                    elif self._mistaken(out, test, activation, gives):
                        fits.append((1, activation, gives, which))
            sums = np.allclose(out.sum(axis=1), 1, atol=1e-5) and (out >= 0).all()
            fits.append((2 + bool(which), name if takes else "sigmoid", "probabilities" if sums else "logits", which))
        return fits

    def _mistaken(self, out: Array, test: Case, activation: str, gives: str) -> bool:
        """Whether an output is that of a known mistake."""
        for mistake in of_family("forward", what=activation).values():
            for lines in mistake.variants:
                z, _ = ours.forward(test.params, test.x, activation, ours.Forward(**lines))
                if np.allclose(out, z if gives == "logits" else ours.softmax(z), rtol=1e-6, atol=1e-9):
                    return True
        return False

    def _value(self, role: str, name: str) -> Any:
        """How their functions want a name: in which spelling, or as a function."""
        return self.spelled.get((role, name), name)

    def _run(self, activation: str, loss: str, params: Layers, x: Array) -> Any:
        assert self.forward
        packed = self.form.pack(params)
        values = {"params": packed, "x": (x.T if self.form.columns else x).copy()}
        if "biases" in self.forward_roles:
            values |= {"params": packed[0], "biases": packed[1]}
        values |= {"activation": self._value("activation", activation), "loss": self._value("loss", loss)}
        return call(self.forward, self.forward_roles, values, "forward")

    def _accepted(self, test: Case, names: Sequence[str]) -> tuple[str, ...]:
        """The activations whose name, or function, is taken without an error, in a spelling that gives our numbers."""
        accepted = []
        for name in names:
            spellings: list[Any] = [*ACTIVATION_SPELLINGS[name]]
            if name in self._functions:
                spellings.append(self._functions[name])
            worked = []
            for spelling in spellings:
                self.spelled["activation", name] = spelling
                try:
                    z = self.logits(name, "cross_entropy", test.params, test.x) if self.forward else None
                    if z is None:
                        self._read(name, "cross_entropy", test, LABELS[0])
                except Exception:
                    continue
                worked.append(spelling)
                break
            if worked:
                self.spelled["activation", name] = worked[0]
                accepted.append(name)
        return tuple(accepted) or ("sigmoid",)

    def _accepted_losses(self, test: Case) -> tuple[str, ...]:
        if "loss" not in self.roles:
            return ()  # one loss alone: the checks find out which
        accepted = []
        equal = case((self.classes,) * 4, 7, 1)  # some mistakes run only where widths are equal
        for name, spellings in LOSS_SPELLINGS.items():
            options: list[Any] = [*spellings, *self._losses.get(name, [])]
            for one, spelling, labels in product((test, equal), options, LABELS):
                self.spelled["loss", name] = spelling
                try:
                    self._read(self.activations[0], name, one, labels)
                except Exception:
                    continue
                accepted.append(name)
                break
        return tuple(accepted) or ("cross_entropy",)

    def _output(self, result: Any, batch: int) -> Array:
        found = list(arrays_in(result, (batch, self.classes)))
        if not found:
            raise Misfit(f"forward gives no array of shape ({batch}, {self.classes})")
        out = found[min(self._which, len(found) - 1)]
        out = out.T if self.form.columns else out
        if out.shape != (batch, self.classes):
            raise Misfit(f"forward gives an array of shape {out.shape} where ({batch}, {self.classes}) was expected")
        return out

    def logits(self, activation: str, loss: str, params: Layers, x: Array) -> Array:
        return self._output(self._run(activation, loss, params, x), len(x))

    def _read(self, activation: str, loss: str, test: Case, labels: str, decay: float = 0.0, known: Any = None) -> Read:
        assert self.backward
        packed, columns = self.form.pack(test.params), self.form.columns
        y = test.y.argmax(axis=1) if labels == "integers" else test.y.copy()
        values: dict[str, Any] = {
            "params": packed,
            "x": (test.x.T if columns else test.x).copy(),
            "y": y.T.copy() if columns else y,
            "activation": self._value("activation", activation),
            "loss": self._value("loss", loss),
            "decay": decay,
        }
        if "biases" in self.roles:
            values |= {"params": packed[0], "biases": packed[1]}
        if self.forward and ("logits" in self.roles or "cache" in self.roles):
            result = self._run(activation, loss, test.params, test.x)
            out = self._output(result, len(test.x))
            values["logits"] = out.T if columns else out
            rest = [part for part in result if part is not result[0]] if isinstance(result, tuple) else [result]
            values["cache"] = rest[0] if len(rest) == 1 else rest
        result = call(self.backward, self.roles, values, "gradients")
        return read_gradients(result, [w.shape for w, _ in test.params], self.form.out_in, known)

    def gradients(
        self, activation: str, loss: str, params: Layers, x: Array, y: Array, labels: str, decay: float = 0.0
    ) -> Layers:
        if self._known is None and self.backward:
            read = None
            for widths in ((5, 3, 4), (5,)):  # without a hidden layer, where it runs with none: the order shows nowhere
                with contextlib.suppress(ValueError, IndexError):
                    read = self._read(activation, loss, case((*widths, self.classes), 7, 1), labels)
                    break
            self._known = (read.last_first, read.transposed) if read else (False, False)
            self.order_open = read is None or len(read.layers) == 1
            if read and len(read.layers) > 1:
                self.said["gradients"] = "last layer first" if read.last_first else "first layer first"
        read = self._read(activation, loss, Case(params, x, y), labels, decay, self._known)
        return read.layers

    def read_order(self, last_first: bool) -> None:
        """From here on, gradients are read in this order."""
        self._known = last_first, False

    @property
    def transposed(self) -> bool:
        return bool(self._known and self._known[1])

    def loss_functions(self, loss: str) -> list[Callable[..., Any]]:
        return self._losses.get(loss, [])


# ---------------------------------------------------------------------------------------------------- a class of layers


# What is a choice of a network's, by the names that its argument has.
CHOICES = {
    "activation": ("activation", "activation_function", "active_function_hidden", "hidden_activation"),
    "loss": ("loss", "loss_function", "loss_fn", "loss_type"),
}
SIZES = {"layer_sizes", "sizes", "layers", "dims", "layer_dims", "architecture"}


class Flags(argparse.Namespace):
    """The parsed flags of a submission, under every usual name; also a dictionary."""

    def __init__(
        self,
        hidden: Any,
        activation: str,
        loss: str,
        optimizer: str = "sgd",
        init: str = "xavier",
        rate: float = 0.01,
        decay: float = 0.0,
        depth: int = 1,
    ):
        names: dict[str, Any] = {"dataset": "mnist", "wandb_project": None, "wandb_entity": None, "no_wandb": True}
        names |= dict.fromkeys(["epochs", "num_epochs", "max_epochs"], 1)
        names |= {"batch_size": 32, "input_size": 784, "input_dim": 784, "n_inputs": 784, "input_features": 784}
        names |= dict.fromkeys(["output_size", "output_dim", "num_classes", "n_classes", "classes", "n_outputs"], 10)
        names |= dict.fromkeys(
            ["hidden_size", "hidden_sizes", "hidden_layers", "hidden_layer_sizes", "hidden_dims", "sz"], hidden
        )
        names |= dict.fromkeys(["num_layers", "num_hidden_layers", "n_layers", "nhl", "number_hidden_layer"], depth)
        width = hidden if isinstance(hidden, int) else (hidden[0] if hidden else 1)
        names |= dict.fromkeys(["num_neurons", "neurons", "number_neurons"], hidden if depth else width)
        names |= dict.fromkeys(CHOICES["activation"], activation) | dict.fromkeys(CHOICES["loss"], loss)
        names |= {"optimizer": optimizer, "learning_rate": rate, "lr": rate, "eta": rate}
        names |= dict.fromkeys(["weight_decay", "wd", "l2", "l2_lambda", "weightdecay"], decay)
        names |= dict.fromkeys(
            ["weight_init", "init", "weight_initialization", "initializer", "weight_ini_method", "wi"], init
        )
        names |= {"momentum": 0.9, "beta": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "eps": 1e-8, "seed": 0}
        names |= {"active_function_output": "softmax", "output_activation": "softmax", "dropout": 0.0, "gamma": 0.9}
        names |= {"dropout_rate": 0.0, "model_save_path": "model.npy", "model_path": "model.npy", "sweep": False}
        super().__init__(**names)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def keys(self) -> Any:
        return vars(self).keys()


class Slot(NamedTuple):
    """A layer's weights and biases, wherever they are kept."""

    holder: Any
    w: Any
    b: Any

    def get(self, key: Any) -> Array:
        return self.holder[key] if isinstance(self.holder, list | dict) else getattr(self.holder, key)

    def put(self, key: Any, value: Array) -> None:
        if isinstance(self.holder, list | dict):
            self.holder[key] = value
        else:
            setattr(self.holder, key, value)


_W_NAMES, _B_NAMES = ("W", "w", "weights", "weight"), ("b", "B", "bias", "biases")
_GW_NAMES = ("grad_W", "grad_w", "dW", "dw", "grad_weights", "weights_grad", "weight_grad", "dweights", "W_grad")
_GB_NAMES = (
    "grad_b",
    "grad_B",
    "db",
    "dB",
    "grad_biases",
    "biases_grad",
    "bias_grad",
    "grad_bias",
    "dbiases",
    "b_grad",
)


def _attribute(thing: Any, names: Sequence[str]) -> str | None:
    return next((name for name in names if isinstance(getattr(thing, name, None), np.ndarray)), None)


def _walk(things: Any, depth: int = 0) -> Iterator[Any]:
    """The layers in a list of layers and activations, and those inside of them."""
    for thing in things if isinstance(things, list | tuple) else []:
        if _attribute(thing, _W_NAMES) and _attribute(thing, _B_NAMES):
            yield thing
        elif depth < 2 and hasattr(thing, "__dict__"):
            inner = [part for part in vars(thing).values() if hasattr(part, "__dict__")]
            yield from _walk(inner, depth + 1)


def layers_of(network: Any) -> list[Slot]:
    """The layers of a network's `layers`, or of another of its lists."""
    lists = [network.layers] if isinstance(getattr(network, "layers", None), list | tuple) else []
    for things in [*lists, *(part for part in vars(network).values() if isinstance(part, list | tuple))]:
        layers = list(_walk(things))
        if layers:
            return [Slot(layer, _attribute(layer, _W_NAMES), _attribute(layer, _B_NAMES)) for layer in layers]
    return []


class Classes:
    """The 2026 skeleton's class: `forward(X)`, `backward(y_true, y_pred)`, layers with W, b, grad_W, grad_b."""

    logits_required = True
    gives = "logits"
    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    inputs: int | None
    said: dict[str, str]

    def __init__(
        self,
        make: Callable[..., Any] | None,
        strings: frozenset[str] = frozenset(),
        losses: dict[str, list[Callable[..., Any]]] | None = None,
        given: Any = None,
        check: dict[str, Any] | None = None,
    ):
        self._make, self._given, self._losses, self.strings = make, given, losses or {}, strings
        self.check, self.classes = check or {}, 10
        self.said, self.inputs = {}, None
        self._built: dict[Any, Any] = {}
        self._spelled: dict[tuple[int, str], str] = {}
        self._hidden_form = ""
        self._known: dict[str, tuple[bool, bool]] = {}
        self.returned: str | None = None  # what is amiss with backward's return; "" where nothing is
        self.on_layers: str | None = None
        self.out_in = False
        self._settle()

    # ---------------------------------------------------------------------------------------------- building
    def _spellings(self, kind: Mapping[str, tuple[str, ...]], name: str) -> list[str]:
        """The spellings of a name that the source has as a text."""
        wanted = {plain(word) for word in kind[name]}
        return sorted((text for text in self.strings if plain(text) in wanted), key=lambda text: text.lower() != text)

    def _name(self, kind: Mapping[str, tuple[str, ...]], name: str) -> str:
        return self._spelled.get((id(kind), name)) or (self._spellings(kind, name) or [kind[name][0]])[0]

    def _flags(self, hidden: Sequence[int], form: str, **fields: Any) -> Flags:
        shown: Any = list(hidden)
        if form == "a number":
            shown = hidden[0] if hidden else 1
        elif form == "a text":
            shown = ",".join(map(str, hidden))
        return Flags(shown, depth=len(hidden), **fields)

    def build(
        self,
        hidden: Sequence[int],
        activation: str,
        loss: str,
        optimizer: str = "sgd",
        **others: Any,
    ) -> Any:
        """A new network, its layers made; `others` as in `Flags`. Raises what its constructor raises."""
        if self._make is None:
            return self._given
        fields = {
            "activation": self._name(ACTIVATION_SPELLINGS, activation),
            "loss": self._name(LOSS_SPELLINGS, loss),
            "optimizer": self._name(OPTIMIZER_SPELLINGS, optimizer),
            **others,
        }
        error: Exception | None = None
        for form in [self._hidden_form] if self._hidden_form else ["a list", "a number", "a text"]:
            try:
                network = self._construct(self._flags(hidden, form, **fields))
                widths = [np.size(slot.get(slot.b)) for slot in self._layers(network)]
                wanted = list(hidden) if form != "a number" else list(hidden[:1]) * len(hidden)
                if widths[:-1] != wanted:
                    raise Misfit(f"hidden layers of {list(hidden)} were asked for, and it has {widths[:-1]}")
            except Exception as raised:
                error = error or raised
                continue
            if len(hidden) > 1:
                self._hidden_form = form
            return network
        assert error
        raise error

    def _construct(self, flags: Flags) -> Any:
        assert self._make
        if self._by_flags():
            return self._make(flags) if parameters_of(self._make) else self._make()
        values, unknown = {}, []
        for parameter in parameters_of(self._make):
            if parameter.name in vars(flags):
                values[parameter.name] = getattr(flags, parameter.name)
            elif parameter.name in SIZES:
                hidden = flags.hidden_size if isinstance(flags.hidden_size, list) else [flags.hidden_size]
                values[parameter.name] = [flags.input_size, *hidden, flags.output_size]
            elif parameter.default is inspect.Parameter.empty:
                unknown.append(parameter.name)
        if unknown:
            raise Unclear(f"what {', '.join(unknown)} of its constructor are; it is made with the parsed flags alone")
        return self._make(**values)

    def _layers(self, network: Any) -> list[Slot]:
        slots = layers_of(network)
        if not slots:  # made at the first forward pass
            network.forward(np.zeros((1, 784)))
            slots = layers_of(network)
        if not slots:
            raise Misfit("it has no layers with W and b")
        return slots

    def _settle(self) -> None:
        if self._make is None:
            slots = self._layers(self._given)
            self.classes = int(np.size(slots[-1].get(slots[-1].b)))
            self.out_in = self._orientation(slots)
            self.sizes = self._sizes(slots)
        else:
            slots = self._layers(self.build((5, 4), "relu", "cross_entropy"))
            self.classes = int(np.size(slots[-1].get(slots[-1].b)))
            self.out_in = self._orientation(slots)
        w, b = slots[0].get(slots[0].w), slots[0].get(slots[0].b)
        self.said = {
            "weights": "(out, in)" if self.out_in else "(in, out)",
            "biases": {1: "(n,)"}.get(b.ndim, "(1, n)" if b.shape[0] == 1 else "(n, 1)"),
        }
        if w.dtype == np.float32:
            self.said["numbers"] = "float32"
        self.inputs = self.sizes[0] if self._make is None else None
        activations, losses = ("sigmoid", "tanh", "relu"), ("cross_entropy", "mse")
        if self._leaves("activation"):
            self.activations = self._accepted(ACTIVATION_SPELLINGS, "activation", activations, ("identity",))
        else:
            self.activations = (self._nearest((*activations, "identity"), self._off_in_logits),)
        if self._leaves("loss"):
            self.losses = self._accepted(LOSS_SPELLINGS, "loss", losses, ())
        else:
            self.losses = (self._nearest(losses, self._off_in_gradients),)
        if self._make is None:
            return
        test = case((7, 5, 4, self.classes), 3, 0)
        for name in self.activations:
            try:
                self.logits(name, self.losses[0], test.params, test.x)
                break
            except Exception:
                self.inputs = 784

    def _by_flags(self) -> bool:
        """Whether it is made with the parsed flags alone."""
        assert self._make
        needed = [p for p in parameters_of(self._make) if p.default is inspect.Parameter.empty]
        return not needed or (len(needed) == 1 and needed[0].name not in {*vars(Flags([], "", "")), *SIZES})

    def _leaves(self, what: str) -> bool:
        """Whether it can be told an activation, or a loss: by the flags, or by an argument of its own."""
        if self._make is None:
            return False
        return self._by_flags() or any(p.name in CHOICES[what] for p in parameters_of(self._make))

    def _nearest(self, names: Sequence[str], off: Callable[[str, Case], float]) -> str:
        """What a network has that leaves no choice, by its numbers; the first where it does not run."""
        test = case((7, 5, 4, self.classes) if self._make else self.sizes, 5, 0)
        try:
            return min(names, key=lambda name: off(name, test))
        except Exception:
            return names[0]

    def _off_in_logits(self, activation: str, test: Case) -> float:
        z, _ = ours.forward(test.params, test.x, activation)
        return float(np.abs(self.logits(activation, "", test.params, test.x) - z).max())

    def _off_in_gradients(self, loss: str, test: Case) -> float:
        (activation,) = self.activations
        right = ours.gradients(test.params, test.x, test.y, activation, loss, 0.0)
        for labels in LABELS:
            with contextlib.suppress(Exception):
                found = self.gradients(activation, loss, test.params, test.x, test.y, labels)
                pairs = zip(sum(found, ()), sum(right, ()), strict=True)
                return max(float(np.abs(a - b).max()) for a, b in pairs)
        return np.inf

    def _orientation(self, slots: list[Slot]) -> bool:
        shapes = [(np.shape(slot.get(slot.w)), np.size(slot.get(slot.b))) for slot in slots]
        return not all(shape[1] == width for shape, width in shapes)

    def _sizes(self, slots: list[Slot]) -> list[int]:
        widths = [int(np.size(slot.get(slot.b))) for slot in slots]
        first = slots[0].get(slots[0].w).shape
        return [first[1] if self.out_in else first[0], *widths]

    def _accepted(
        self, kind: Mapping[str, tuple[str, ...]], what: str, usual: Sequence[str], named: Sequence[str]
    ) -> tuple[str, ...]:
        """Those that it is made with without an error: the usual ones, and others where its source names them."""
        accepted = []
        for name in (*usual, *named):
            spelled = self._spellings(kind, name)
            others = name in named or any(self._spellings(kind, other) for other in usual)
            if self.strings and not spelled and others and name != "cross_entropy":
                continue
            for spelling in spelled or kind[name][:2]:
                self._spelled[id(kind), name] = spelling
                chosen: dict[str, Any] = {"activation": "relu", "loss": "cross_entropy", what: name}
                if what == "loss" and self.activations:
                    chosen["activation"] = self.activations[0]
                try:
                    network = self.build((5, 4), **chosen)
                    network.forward(np.zeros((2, 784)))
                except Exception:
                    continue
                accepted.append(name)
                break
        return tuple(accepted) or (usual[0],)

    # ---------------------------------------------------------------------------------------------- using
    def _network(self, depth: Sequence[int], activation: str, loss: str, decay: float) -> Any:
        key = (tuple(depth), activation, loss, decay)
        if key not in self._built:
            self._built[key] = self.build(depth, activation, loss, decay=decay)
        return self._built[key]

    def put(self, network: Any, params: Layers) -> list[Slot]:
        """Weights of any shape, in its own form."""
        slots = self._layers(network)
        if len(slots) != len(params):
            raise Misfit(f"it has {len(slots)} layers where {len(params)} were asked for")
        for slot, (w, b) in zip(slots, params, strict=True):
            old = slot.get(slot.b)
            shape = (-1,) if old.ndim == 1 else (1, -1) if old.shape[0] == 1 else (-1, 1)
            slot.put(slot.w, (w.T if self.out_in else w).copy())
            slot.put(slot.b, b.reshape(shape).copy())
        return slots

    def _prepared(self, activation: str, loss: str, params: Layers, decay: float = 0.0) -> tuple[Any, list[Slot]]:
        network = self._network([w.shape[1] for w, _ in params[:-1]], activation, loss, decay)
        return network, self.put(network, params)

    def _forward(self, network: Any, x: Array) -> Array:
        found = list(arrays_in(network.forward(x.copy()), (len(x), self.classes)))
        if not found:
            raise Misfit(f"forward gives no array of shape ({len(x)}, {self.classes})")
        return found[0] if found[0].shape[0] == len(x) else found[0].T

    def logits(self, activation: str, loss: str, params: Layers, x: Array) -> Array:
        network, _ = self._prepared(activation, loss, params)
        return self._forward(network, x)

    def gradients(
        self, activation: str, loss: str, params: Layers, x: Array, y: Array, labels: str, decay: float = 0.0
    ) -> Layers:
        network, slots = self._prepared(activation, loss, params, decay)
        output = network.forward(x.copy())
        z = output if isinstance(output, np.ndarray) else next(arrays_in(output, (len(x), self.classes)))
        target = y.argmax(axis=1) if labels == "integers" else y.copy()
        if self._known.get(activation) is None and len(params) != 3:
            test = case((self.inputs or 7, 5, 4, self.classes), 3, 0)
            try:
                self.gradients(activation, loss, test.params, test.x, test.y, labels, decay)
            except (ValueError, IndexError):  # widths that it does not run at: the order that was asked for
                self._known[activation] = (True, False)
            return self.gradients(activation, loss, params, x, y, labels, decay)
        result = self._backward(network, x, target, z)
        shapes = [w.shape for w, _ in params]
        on_layers = self._from_layers(slots, shapes)
        returned: Read | None = None
        known = self._known.get(activation)
        try:
            returned = read_gradients(result, shapes, self.out_in, known)
        except ValueError:
            self.returned = self.returned or "gradients_not_returned"
        if returned and known is None:
            self._known[activation] = (returned.last_first, returned.transposed)
            wrong = "gradient_transposed" if returned.transposed else "" if returned.last_first else "layers_reversed"
            self.returned = self.returned or wrong
        if on_layers is None:
            self.on_layers = "gradients_not_on_layers"
        elif self.on_layers is None:
            self.on_layers = ""
        if returned is None and on_layers is None:
            raise Misfit("backward neither returns gradients of the layers' shapes nor leaves them on the layers")
        if returned is None:
            self._known.setdefault(activation, (True, False))
        return (returned.layers if returned else None) or on_layers or []

    def _backward(self, network: Any, x: Array, y: Array, z: Array) -> Any:
        """backward(y_true, y_pred), or in another order where the names of its arguments say so."""
        roles = roles_of(network.backward, ("y", "logits", "x"))
        given = {"x": x.copy(), "y": y, "logits": z}
        if "x" in roles or set(roles) == {"y", "logits"}:
            return call(network.backward, roles, given, "backward")
        return network.backward(y, z)

    def _from_layers(self, slots: list[Slot], shapes: Sequence[tuple[int, ...]]) -> Layers | None:
        names = [(_attribute(slot.holder, _GW_NAMES), _attribute(slot.holder, _GB_NAMES)) for slot in slots]
        if not all(w and b for w, b in names):
            return None
        try:
            pairs = [(getattr(s.holder, w), getattr(s.holder, b)) for s, (w, b) in zip(slots, names, strict=True)]  # type: ignore[arg-type]
            return read_gradients(pairs, shapes, self.out_in, (False, False)).layers  # type: ignore[arg-type]
        except ValueError:
            return None

    @property
    def transposed(self) -> bool:
        return self.returned == "gradient_transposed"

    def loss_functions(self, loss: str) -> list[Callable[..., Any]]:
        found = list(self._losses.get(loss, []))
        try:
            network = self.build((5, 4), self.activations[0], loss)
        except Exception:
            return found
        for name, part in vars(network).items():
            if re.search("loss|criterion|objective|cost", name, re.I):
                found += methods_of_loss(part)
        return found


LOSS_METHODS = [
    "forward",
    "loss",
    "compute",
    "compute_loss",
    "calculate",
    "value",
    "__call__",
    "get_loss",
    "calc_loss",
    "loss_value",
    "compute_value",
    "evaluate",
]


def methods_of_loss(thing: Any) -> list[Callable[..., Any]]:
    """The callables of an object that may give the value of a loss."""
    if inspect.isfunction(thing) or inspect.ismethod(thing):
        return [thing]
    found = [getattr(thing, name, None) for name in LOSS_METHODS if name != "__call__" or callable(thing)]
    return [method for method in found if inspect.ismethod(method) or inspect.isfunction(method)]
