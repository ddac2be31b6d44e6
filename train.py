"""The assignment's command line: its 18 flags become a config, and the config the same run that main.py trains."""

import argparse
import re
import signal
import sys
from typing import Any, NoReturn

from ml_collections import ConfigDict

from mlp_jax.cli import exit_status
from mlp_jax.cli import train as train_config
from mlp_jax.errors import UserError, as_flag, closest, not_one_of, shown
from mlp_jax.runs.config import choices, complete, override, validate
from mlp_jax.runs.spelling import MOST_LAYERS, canonical, sizes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flag = re.match(r"unrecognized arguments: (--?[a-zA-Z][^\s=]*)", message)
        nearest = closest(flag[1], self._option_string_actions) if flag else None
        raise UserError(f"{message}; did you mean {nearest}?" if nearest else message)


# (short flag, long flag, config field, default, what --help says); further spellings of a flag are in ALIASES.
# The defaults are our best values for about a minute on two cores: 89.42 % on validation, 88.57 % on the test set.
FLAGS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("-wp", "--wandb_project", "wandb_project", "", "W&B project; nothing goes to W&B without it or an entity"),
    ("-we", "--wandb_entity", "wandb_entity", "", "W&B entity"),
    (
        "-d",
        "--dataset",
        "dataset",
        "fashion_mnist",
        "mnist, fashion_mnist, kmnist, digits, mnist1d, a folder of IDX files, or an .npz file",
    ),
    ("-e", "--epochs", "num_epochs", 20, "passes over the training set"),
    ("-b", "--batch_size", "batch_size", 64, "examples an update"),
    ("-l", "--loss", "loss", "cross_entropy", "mean_squared_error, cross_entropy"),
    ("-o", "--optimizer", "optimizer", "nadam", "sgd, momentum, nag, rmsprop, adam, nadam, muon"),
    ("-lr", "--learning_rate", "learning_rate", 5e-4, "step size"),
    ("-m", "--momentum", "momentum", 0.9, "of momentum, nag and muon"),
    ("-beta", "--beta", "beta", 0.9, "of rmsprop"),
    ("-beta1", "--beta1", "beta1", 0.9, "of adam, nadam and muon"),
    ("-beta2", "--beta2", "beta2", 0.999, "of adam, nadam and muon"),
    ("-eps", "--epsilon", "eps", 1e-8, "of rmsprop, adam, nadam and muon"),
    ("-w_d", "--weight_decay", "weight_decay", 0.0, "λ of the L2 penalty λ/2·‖W‖²"),
    ("-w_i", "--weight_init", "init", "xavier", "random, Xavier, He, zeros"),
    ("-nhl", "--num_layers", "num_layers", 3, "hidden layers"),
    ("-sz", "--hidden_size", "hidden_size", ["128"], "neurons in each hidden layer; several numbers: one a layer"),
    ("-a", "--activation", "activation", "relu", "identity, sigmoid, tanh, ReLU, leaky_relu, elu, gelu, swish"),
)
ALIASES = {"-wd": "-w_d", "-wi": "-w_i", "--weight_decay_rate": "-w_d"}


def parser() -> argparse.ArgumentParser:
    """The 18 flags; what is not given is left out."""
    result = _Parser(
        prog="train.py",
        description="Train a multilayer perceptron.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for short, long, field, default, text in FLAGS:
        kind: dict[str, Any] = {"dest": field, "nargs": "+" if field == "hidden_size" else None}
        about = f"{text} (default: {as_flag(default) or 'none'})"
        result.add_argument(short, long, metavar=field.upper(), help=about, **kind)
        # Without -batch_size argparse would read it as -b with the value 'atch_size'.
        aliases = [long[1:], *(alias for alias, flag in ALIASES.items() if flag == short)]
        if aliases != [short]:
            result.add_argument(*aliases, help=argparse.SUPPRESS, **kind)
    return result


def to_config(argv: list[str]) -> ConfigDict:
    """The config that the flags in `argv` mean, checked."""
    given = vars(parser().parse_args(argv))
    usual = complete({})
    fields: dict[str, Any] = {field: default for _, _, field, default, _ in FLAGS} | given
    fields["hidden_sizes"] = _hidden_sizes(fields.pop("num_layers"), fields.pop("hidden_size"), "num_layers" in given)
    fields["tracker"] = "wandb" if {"wandb_project", "wandb_entity"} & given.keys() else "none"
    fields["wandb_project"] = fields["wandb_project"] or usual.wandb_project
    for short, _, field, _, text in FLAGS:
        if field in choices() and canonical(field, fields[field]) not in choices()[field]:
            raise not_one_of(short, fields[field], text.split(", "))  # the names that --help says
    try:
        config = override(usual, [(field, as_flag(value)) for field, value in fields.items()])
        validate(config)
    except UserError as error:
        field, colon, rest = str(error).partition(":")
        flag = {field: short for short, _, field, _, _ in FLAGS}.get(field, field)
        raise UserError(f"{flag}{colon}{rest}") from error
    return config


def _hidden_sizes(num_layers: Any, hidden_size: list[str], layers_given: bool) -> tuple[int, ...]:
    depth = str(num_layers).strip()
    if not re.fullmatch(r"[0-9]{1,4}", depth) or int(depth) > MOST_LAYERS:
        raise UserError(f"-nhl: {shown(num_layers)} is not a whole number from 0 to {MOST_LAYERS}")
    try:
        widths = sizes(",".join(hidden_size))
    except UserError:
        given = shown(" ".join(hidden_size))
        raise UserError(f"-sz: {given} is not one width for all layers or one a layer, as 128 64 32") from None
    if len(widths) == 1:
        return widths * int(depth)
    if layers_given and len(widths) != int(depth):
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
