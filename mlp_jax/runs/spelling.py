"""Names and spellings of fields and values in other systems, in our own: MGD, NAG, ReLU, max_epochs, weight_init."""

import re
import reprlib
from collections.abc import Iterable
from typing import Any

from mlp_jax.errors import UserError, not_one_of

# What other systems call our fields, lower-case letters and digits only.
FIELD_NAMES = {
    "epochs": "num_epochs",
    "maxepochs": "num_epochs",
    "nepochs": "num_epochs",
    "layers": "num_layers",
    "hiddenlayers": "num_layers",
    "numhiddenlayers": "num_layers",
    "nhiddenlayers": "num_layers",
    "numberhiddenlayers": "num_layers",
    "nhl": "num_layers",
    "hl": "num_layers",
    "depth": "num_layers",
    "numhiddenneurons": "hidden_size",
    "hiddenneurons": "hidden_size",
    "numneurons": "hidden_size",
    "neurons": "hidden_size",
    "hiddenunits": "hidden_size",
    "hiddenlayersize": "hidden_size",
    "sizehiddenlayer": "hidden_size",
    "layersize": "hidden_size",
    "width": "hidden_size",
    "sz": "hidden_size",
    "initializer": "init",
    "initialiser": "init",
    "initialization": "init",
    "initialisation": "init",
    "weightinit": "init",
    "weightinitialization": "init",
    "weightinitialisation": "init",
    "weightinitializer": "init",
    "activationfunction": "activation",
    "activationfn": "activation",
    "act": "activation",
    "optimiser": "optimizer",
    "opt": "optimizer",
    "lr": "learning_rate",
    "stepsize": "learning_rate",
    "l2": "weight_decay",
    "wd": "weight_decay",
    "lambda": "weight_decay",
    "bs": "batch_size",
    "minibatchsize": "batch_size",
    "lossfunction": "loss",
    "lossfn": "loss",
    "dropout": "dropout_rate",
    "epsilon": "eps",
}

# What other systems call our values, lower-case letters and digits only.
VALUE_NAMES = {
    "optimizer": {
        "mgd": "momentum",
        "momentumgd": "momentum",
        "momentumsgd": "momentum",
        "sgdmomentum": "momentum",
        "nag": "nesterov",
        "nesterovsgd": "nesterov",
        "nesterovmomentum": "nesterov",
        "gd": "sgd",
    },
    "activation": {"logistic": "sigmoid", "linear": "identity", "none": "identity", "leakyrelu": "leaky_relu"},
    "init": {
        "glorot": "xavier",
        "xavieruniform": "xavier",
        "glorotuniform": "xavier",
        "kaiming": "he",
        "henormal": "he",
        "zero": "zeros",
        "randomnormal": "random",
    },
    "loss": {
        "meansquarederror": "mse",
        "squarederror": "mse",
        "crossentropy": "cross_entropy",
        "ce": "cross_entropy",
        "categoricalcrossentropy": "cross_entropy",
    },
    "dataset": {"fashionmnist": "fashion_mnist", "mnist": "mnist", "digits": "digits"},
}

METRICS = ("val/accuracy", "val/loss", "train/accuracy", "train/loss")
METRIC_NAMES = {
    "valaccuracy": "val/accuracy",
    "validationaccuracy": "val/accuracy",
    "valacc": "val/accuracy",
    "validationacc": "val/accuracy",
    "accuracy": "val/accuracy",
    "valloss": "val/loss",
    "validationloss": "val/loss",
    "loss": "val/loss",
    "trainaccuracy": "train/accuracy",
    "trainingaccuracy": "train/accuracy",
    "trainacc": "train/accuracy",
    "trainloss": "train/loss",
    "trainingloss": "train/loss",
}

MOST_LAYERS, MOST_UNITS = 1000, 1_000_000  # beyond them a net is a slip of the pen, and its tuple a flood of memory


def canonical(field: str, value: Any) -> Any:
    """Our spelling of a config value as other systems write it: MGD -> momentum, NAG -> nesterov, ReLU -> relu."""
    if field not in VALUE_NAMES or not isinstance(value, str):
        return value
    return VALUE_NAMES[field].get(_squash(value)) or (value if field == "dataset" else value.lower())


def canonical_field(name: str, fields: Iterable[str]) -> str:
    """Our name of a parameter as other systems write it, max_epochs -> num_epochs; a UserError names the nearest."""
    fields = [*fields, "num_layers", "hidden_size"]
    squashed = _squash(name.removeprefix("config."))
    own = {_squash(field): field for field in fields}
    field = own.get(squashed) or FIELD_NAMES.get(squashed)
    if field not in fields:
        raise unknown("sweep.parameters", name, sorted(fields))
    return field


def sizes(value: Any) -> tuple[int, ...]:
    """The widths of hidden layers from (128, 64), [128, 64], '128-64', '128,64' or 128; '' and () are none."""
    widths = value
    if isinstance(value, str):
        words = re.split(r"[\s,-]+", value.strip(" ()[],")) if value.strip(" ()[],") else []
        widths = [int(word) if re.fullmatch(r"[0-9]{1,8}", word) else word for word in words]
    widths = tuple(widths) if isinstance(widths, list | tuple) else (widths,)
    if len(widths) > MOST_LAYERS or not all(type(width) is int and 1 <= width <= MOST_UNITS for width in widths):
        raise UserError(
            f"hidden_sizes: {shown(value)} is not a tuple of widths from 1 to {MOST_UNITS}, as (128, 64) or '128-64'"
        )
    return widths


def canonical_metric(name: object) -> str:
    """Our name of a metric as other systems write it: val_acc -> val/accuracy; loss alone is the validation set's."""
    metric = METRIC_NAMES.get(_squash(name)) if isinstance(name, str) else None
    if metric is None:
        raise unknown("sweep.metric.name", name, METRICS)
    return metric


def shown(value: object) -> str:
    """A value as a message quotes it: in one line, however long or deep it is."""
    quote = reprlib.Repr()
    quote.maxstring = quote.maxother = 80
    try:
        return quote.repr(value)
    except ValueError:  # an int of more than 4300 digits
        return "a number too long to print"


def unknown(name: str, given: object, allowed: Iterable[object]) -> UserError:
    """`not_one_of` for what may be no word at all."""
    return not_one_of(name, given[:80] if isinstance(given, str) else shown(given), allowed)


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
