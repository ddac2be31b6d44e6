"""The assignment's command line: its 18 flags become a config, and the config the same run that main.py trains."""

import argparse
import signal
import sys
from typing import Any, NoReturn

from ml_collections import ConfigDict

from main import exit_status
from main import train as train_config
from mlp_jax.errors import UserError
from mlp_jax.runs import config as configs
from mlp_jax.runs import spelling


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


# (short flag, long flag, config field, default, what --help says); further spellings of a flag are in ALIASES.
# The defaults are our best values for about a minute on two cores: 89.42 % on validation, 88.57 % on the test set.
FLAGS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("-wp", "--wandb_project", "wandb_project", "", "W&B project; nothing goes to W&B without it or an entity"),
    ("-we", "--wandb_entity", "wandb_entity", "", "W&B entity"),
    ("-d", "--dataset", "dataset", "fashion_mnist", "mnist, fashion_mnist, digits, or a folder of four IDX files"),
    ("-e", "--epochs", "num_epochs", 20, "passes over the training set"),
    ("-b", "--batch_size", "batch_size", 64, "examples an update"),
    ("-l", "--loss", "loss", "cross_entropy", "mean_squared_error, cross_entropy"),
    ("-o", "--optimizer", "optimizer", "nadam", "sgd, momentum, nag, rmsprop, adam, nadam"),
    ("-lr", "--learning_rate", "learning_rate", 5e-4, "step size"),
    ("-m", "--momentum", "momentum", 0.9, "of momentum and nag"),
    ("-beta", "--beta", "beta", 0.9, "of rmsprop"),
    ("-beta1", "--beta1", "beta1", 0.9, "of adam and nadam"),
    ("-beta2", "--beta2", "beta2", 0.999, "of adam and nadam"),
    ("-eps", "--epsilon", "eps", 1e-8, "of rmsprop, adam and nadam"),
    ("-w_d", "--weight_decay", "weight_decay", 0.0, "λ of the L2 penalty λ/2·‖W‖²"),
    ("-w_i", "--weight_init", "init", "xavier", "random, Xavier, He, zeros"),
    ("-nhl", "--num_layers", "num_layers", 3, "hidden layers"),
    ("-sz", "--hidden_size", "hidden_size", "128", "neurons in each hidden layer; several numbers: one a layer"),
    ("-a", "--activation", "activation", "relu", "identity, sigmoid, tanh, ReLU, leaky_relu, elu, gelu, swish"),
)
ALIASES = {"-wd": "-w_d", "-wi": "-w_i", "--weight_decay_rate": "-w_d"}


def parser() -> argparse.ArgumentParser:
    """The 18 flags with their defaults."""
    result = _Parser(prog="train.py", description="Train a multilayer perceptron.", allow_abbrev=False)
    for short, long, field, default, text in FLAGS:
        shown = f"{text} (default: {default if default != '' else 'none'})"
        names = [short, long, *(alias for alias, of in ALIASES.items() if of == short)]
        many = {"nargs": "+"} if field == "hidden_size" else {}
        result.add_argument(*names, dest=field, metavar=field.upper(), default=None, help=shown, **many)  # type: ignore[arg-type]
    return result


def to_config(argv: list[str]) -> ConfigDict:
    """The config that the flags in `argv` mean, checked."""
    given = {name: value for name, value in vars(parser().parse_args(_long(argv))).items() if value is not None}
    fields: dict[str, Any] = {field: default for _, _, field, default, _ in FLAGS} | given
    flag_of = {field: short for short, _, field, _, _ in FLAGS}
    fields["hidden_sizes"] = _hidden_sizes(fields.pop("num_layers"), fields.pop("hidden_size"), "num_layers" in given)
    fields["tracker"] = "wandb" if {"wandb_project", "wandb_entity"} & given.keys() else "none"
    if fields["tracker"] == "wandb" and not fields["wandb_project"]:
        fields["wandb_project"] = configs.complete({}).wandb_project
    texts = [(name, str(spelling.canonical(name, value))) for name, value in fields.items() if name != "hidden_sizes"]
    try:
        config = configs.override(configs.complete({}), [pair for pair in texts if pair[1] or pair[0] in given])
        config.hidden_sizes = configs.check("hidden_sizes", fields["hidden_sizes"])
        configs.validate(config)
    except UserError as error:
        field, colon, rest = str(error).partition(":")
        raise UserError(f"{flag_of.get(field, field)}{colon}{rest}") from error
    return config


def _long(argv: list[str]) -> list[str]:
    """-batch_size as --batch_size: argparse would read it as -b with the value 'atch_size'."""
    names = {long[1:]: long for _, long, *_ in FLAGS}
    shorts = {short for short, *_ in FLAGS}
    tokens = []
    for token in argv:
        name, equals, value = token.partition("=")
        tokens.append(names[name] + equals + value if name in names and name not in shorts else token)
    return tokens


def _hidden_sizes(num_layers: Any, hidden_size: Any, layers_given: bool) -> tuple[int, ...]:
    if not str(num_layers).strip().isdigit() or int(num_layers) > spelling.MOST_LAYERS:
        raise UserError(f"-nhl: {num_layers!r} is not a whole number from 0 to {spelling.MOST_LAYERS}")
    try:
        widths = spelling.sizes(hidden_size if isinstance(hidden_size, str) else ",".join(hidden_size))
    except UserError:
        shown = hidden_size if isinstance(hidden_size, str) else " ".join(hidden_size)
        raise UserError(f"-sz: {shown!r} is not one width for all layers or one a layer, as 128 64 32") from None
    if len(widths) == 1:
        return widths * int(num_layers)
    if layers_given and len(widths) != int(num_layers):
        raise UserError(f"-sz: {len(widths)} widths are given for -nhl {num_layers}; allowed: one, or one a layer")
    return widths


def main(argv: list[str]) -> int:
    """The exit status of the command line `argv`, the program's name left out."""

    def action() -> int:
        train_config(to_config(argv))
        return 0

    return exit_status("train.py", action)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: an orderly end in one line
    sys.exit(main(sys.argv[1:]))
