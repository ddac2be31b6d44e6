"""The two halves of a config: what is compiled into a program, and the numbers that flow through it.

`Static` holds sizes, names and which features exist; a change of it compiles anew. `Hparams` holds the numbers, all
traced; a change of them does not. A feature whose number is zero is left out of the program, since one that is
present costs time even at zero (measured on the step: dropout 1.19×, L2 1.22×).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from mlp_jax.augment import DISTORTIONS, DistortionNumbers
from mlp_jax.schedules import ScheduleNumbers


class Static(NamedTuple):
    """Everything that decides the text of a compiled training program; hashable."""

    sizes: tuple[int, ...]  # inputs, hidden …, classes
    activation: str
    init: str
    loss: str
    optimizer: str
    schedule: str
    gradient: str
    precision: str
    batch_size: int  # rows of a step
    dropout: bool
    l2: bool
    decoupled_weight_decay: bool
    clip: bool
    warmup: bool
    probes: bool
    norm: str
    smoothing: bool
    mixup: bool
    ema: bool
    distortions: tuple[str, ...]  # of augment.DISTORTIONS, in that order
    image_shape: tuple[int, int]  # (0, 0) without distortions
    noise: bool = False
    max_norm: bool = False
    vat: bool = False
    confidence_penalty: bool = False
    input_dropout: bool = False
    weighted: bool = False  # examples count differently: by class_weight, by sample_weight

    @property
    def trained(self) -> "Static":
        """What the steps of a training read: nets that differ in the rest share their program."""
        return self._replace(init="")

    @property
    def evaluated(self) -> "Static":
        """What the end of an epoch reads, likewise: neither the optimizer nor the batches."""
        read = ("sizes", "activation", "loss", "precision", "probes", "norm", "ema")
        return Static._make(value if name in read else type(value)() for name, value in self._asdict().items())

    @property
    def net(self) -> dict[str, Any]:
        """The arguments of `model.forward` that are the same for every batch."""
        return {"activation": self.activation, "precision": self.precision, "norm": self.norm}

    @property
    def dtype(self) -> jnp.dtype:
        """Of the parameters: float64 for precision='float64', else float32."""
        return jnp.dtype("float64" if self.precision == "float64" else "float32")


class Hparams(NamedTuple):
    """The traced numbers of a run, each a scalar in the run's dtype, but for a weight a class."""

    learning_rate: Array
    momentum: Array
    beta: Array
    beta1: Array
    beta2: Array
    eps: Array
    weight_decay: Array
    dropout_rate: Array
    clip_norm: Array
    init_scale: Array
    label_smoothing: Array
    mixup_alpha: Array
    ema_decay: Array
    noise: Array
    max_norm: Array
    vat_eps: Array
    vat_xi: Array
    vat_weight: Array
    confidence_penalty: Array
    input_dropout_rate: Array
    class_weight: Any  # (classes,) where `Static.weighted`, else ()
    schedule: ScheduleNumbers
    augment: DistortionNumbers


def steps_per_epoch(num_examples: Any, batch_size: int) -> Any:
    """⌈n/b⌉: every example once, the last short batch included. `num_examples` may be traced."""
    return -(-num_examples // batch_size)


def static_of(
    config: Any,
    inputs: int,
    classes: int,
    num_examples: int,
    image_shape: tuple[int, ...] = (0, 0),
    weighted: bool = False,
) -> Static:
    """The half that is compiled in; see `split_config`. Plain Python: it starts no device."""
    distortions = tuple(name for name in DISTORTIONS if config[f"augment_{name}"] > 0)
    names = ("activation", "init", "loss", "optimizer", "schedule", "gradient", "precision", "probes")
    return Static(
        **{name: config[name] for name in names},
        sizes=(inputs, *config.hidden_sizes, classes),
        batch_size=min(config.batch_size or num_examples, num_examples),
        dropout=config.dropout_rate > 0 and bool(config.hidden_sizes),
        l2=config.weight_decay > 0 and not config.decoupled_weight_decay,
        decoupled_weight_decay=config.weight_decay > 0 and config.decoupled_weight_decay,
        clip=config.clip_norm > 0,
        warmup=config.warmup_epochs > 0,
        norm=config.norm if config.hidden_sizes else "none",
        smoothing=config.label_smoothing > 0,
        mixup=config.mixup_alpha > 0,
        ema=config.ema_decay > 0,
        noise=config.noise > 0,
        max_norm=config.max_norm > 0,
        vat=config.vat_weight > 0 and config.vat_eps > 0,
        confidence_penalty=config.confidence_penalty > 0,
        input_dropout=config.input_dropout_rate > 0,
        distortions=distortions,
        image_shape=(image_shape[0], image_shape[1]) if distortions else (0, 0),
        weighted=weighted,
    )


def split_config(
    config: Any,
    inputs: int,
    classes: int,
    num_examples: int,
    image_shape: tuple[int, ...] = (0, 0),
    class_weight: Any = (),
) -> tuple[Static, Hparams]:
    """The two halves of a config, for data of `num_examples` training rows of `inputs` numbers in `classes` classes.

    Only a program that trains on distorted images needs their shape, and one that weighs its examples the weight of
    each class.
    """
    static = static_of(config, inputs, classes, num_examples, image_shape, len(class_weight) > 0)
    steps = steps_per_epoch(num_examples, static.batch_size)

    def number(value: Any) -> Any:
        return np.asarray(value, static.dtype)  # on the host, which of many lanes makes one array

    schedule = ScheduleNumbers(
        warmup_steps=number(config.warmup_epochs * steps),
        decay_steps=number(config.decay_epochs * steps),
        decay_rate=number(config.decay_rate),
        final_factor=number(config.final_factor),
        total_steps=number(config.num_epochs * steps),
    )
    augment = DistortionNumbers(*(number(config[f"augment_{name}"]) for name in DistortionNumbers._fields))
    others = ("class_weight", "schedule", "augment")
    fields = {name: number(config[name]) for name in Hparams._fields if name not in others}
    weights = number(class_weight) if static.weighted else ()
    return static, Hparams(**fields, class_weight=weights, schedule=schedule, augment=augment)
