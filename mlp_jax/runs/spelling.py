"""Names and spellings of fields and values in other systems, in our own: MGD, NAG, ReLU, max_epochs, weight_init."""

import re
from collections.abc import Iterable
from typing import Any

from mlp_jax.errors import UserError, not_one_of, shown

MOST_LAYERS, MOST_UNITS = 1000, 1_000_000  # beyond them a net is a slip of the pen, and its tuple a flood of memory

# What names of trials and folders call a field, in the order of a grid's loops (the last varies fastest) and of a
# trial's name. What decides the compiled program stands first and the epochs last, so that neighbours in a grid share a
# program, even a training.
ABBREVIATIONS = {
    "hidden_sizes": "hs",
    "num_layers": "hl",
    "hidden_size": "sz",
    "batch_size": "bs",
    "activation": "ac",
    "loss": "ls",
    "optimizer": "op",
    "init": "in",
    "learning_rate": "lr",
    "weight_decay": "wd",
    "dropout_rate": "do",
    "momentum": "mo",
    "beta": "be",
    "beta1": "b1",
    "beta2": "b2",
    "eps": "eps",
    "seed": "sd",
    "num_epochs": "ep",
}


def _lookup(others: dict[str, str]) -> dict[str, str]:
    """From what other systems say to our word for it; given are our words, each with theirs."""
    return {theirs: ours for ours, names in others.items() for theirs in names.split()}


# What other systems say, lower-case letters and digits only.
FIELD_NAMES = _lookup(
    {
        "num_epochs": "epochs maxepochs nepochs",
        "num_layers": "layers nlayers numberlayers numberoflayers hiddenlayers numhiddenlayers nhiddenlayers "
        "numberhiddenlayers numberofhiddenlayers nhl hl depth",
        "hidden_size": "numhiddenneurons hiddenneurons numneurons neurons hiddenunits hiddenlayersize sizehiddenlayer "
        "layersize width sz",
        "init": "initializer initialiser initialization initialisation weightinit weightinitialization "
        "weightinitialisation weightinitializer",
        "activation": "activationfunction activationfn act",
        "optimizer": "optimiser opt",
        "learning_rate": "lr stepsize",
        "weight_decay": "l2 wd lambda",
        "batch_size": "bs minibatchsize",
        "loss": "lossfunction lossfn",
        "dropout_rate": "dropout",
        "eps": "epsilon",
    }
)
DATASETS = {
    "fashion_mnist": "fashionmnist fmnist",
    "mnist": "mnist",
    "kmnist": "kmnist kuzushijimnist",
    "digits": "digits",
    "mnist1d": "mnist1d",
}
VALUE_NAMES = {
    field: _lookup(others)
    for field, others in {
        "optimizer": {
            "momentum": "mgd momentumgd momentumsgd sgdmomentum",
            "nesterov": "nag nesterovsgd nesterovmomentum",
            "sgd": "gd",
        },
        "activation": {"sigmoid": "logistic", "identity": "linear none", "leaky_relu": "leakyrelu"},
        "init": {
            "xavier": "glorot xavieruniform glorotuniform",
            "he": "kaiming henormal",
            "zeros": "zero",
            "random": "randomnormal",
        },
        "loss": {
            "mse": "meansquarederror squarederror",
            "cross_entropy": "crossentropy ce categoricalcrossentropy",
        },
        "dataset": DATASETS,
        "fallback_dataset": DATASETS,
        "evaluate_split": {"validation": "val valid dev", "train": "training", "test": "testing"},
    }.items()
}
METRIC_NAMES = _lookup(
    {
        "val/accuracy": "valaccuracy validationaccuracy valacc validationacc accuracy",
        "val/loss": "valloss validationloss loss",
        "train/accuracy": "trainaccuracy trainingaccuracy trainacc",
        "train/loss": "trainloss trainingloss",
    }
)


def canonical(field: str, value: Any) -> Any:
    """Our spelling of a config value as other systems write it: MGD -> momentum, NAG -> nesterov, ReLU -> relu."""
    if field not in VALUE_NAMES or not isinstance(value, str):
        return value
    return VALUE_NAMES[field].get(_squash(value)) or (value if "dataset" in field else value.lower())


def own_field(name: str, fields: Iterable[str]) -> str | None:
    """Which of our `fields` a name means, as other systems write it: max_epochs -> num_epochs; None: none of them."""
    own = {_squash(field): field for field in fields}
    field = own.get(_squash(name)) or FIELD_NAMES.get(_squash(name))
    return field if field in own.values() else None


def canonical_field(name: str, fields: Iterable[str]) -> str:
    """Our name of a parameter of a sweep as other systems write it; a UserError names the nearest."""
    fields = [*fields, "num_layers", "hidden_size"]
    field = own_field(name.removeprefix("config."), fields)
    if field is None:
        raise not_one_of("sweep.parameters", name, sorted(fields))
    return field


def canonical_metric(name: object) -> str:
    """Our name of a metric as other systems write it: val_acc -> val/accuracy; loss alone is the validation set's."""
    metric = METRIC_NAMES.get(_squash(name)) if isinstance(name, str) else None
    if metric is None:
        raise not_one_of("sweep.metric.name", name, dict.fromkeys(METRIC_NAMES.values()))
    return metric


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


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
