"""The config of a run: loaded, overridden, checked, written, read back, compared. Every mistake is a UserError.

`defaults.py` declares each field and with it the field's type; the choices are the keys of the tables that implement
them. Here stand the ranges, what fields owe each other, and which of them decide a run's numbers. A field is checked
once, where it enters: from a file, a command line or a dictionary.
"""

import difflib
import hashlib
import json
import math
import os
import re
import runpy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from mlp_jax.errors import UserError, is_number, not_one_of, redact, shown
from mlp_jax.files import workdir
from mlp_jax.runs.defaults import get_config
from mlp_jax.runs.spelling import ABBREVIATIONS, canonical, own_field

FILE = "config.json"
LONGEST_NAME = 220  # bytes of a folder's name, of which a file system takes 255; date and time follow

# Fields that only some configs have: a file makes itself a sweep by declaring `sweep`, a set of experiments by
# declaring `experiments`.
EXTRAS: dict[str, Any] = {"sweep": {}, "storage": "", "experiments": (), "budget": "quick", "edition": 2026}
_DECLARED = {**get_config().to_dict(), **EXTRAS}
# Keys of a sweep's dictionary, which may be given on the command line though the config file does not declare them.
_EARLY = "early_terminate."
_SWEEP_KINDS: dict[str, type] = {
    **dict.fromkeys(("method", "name", "metric.name", "metric.goal", _EARLY + "type"), str),
    **dict.fromkeys(("run_cap", "batch", _EARLY + "min_iter", _EARLY + "max_iter", _EARLY + "s"), int),
    **dict.fromkeys(("metric.target", _EARLY + "eta"), float),
    **dict.fromkeys(("report_test", _EARLY + "strict"), bool),
}
_SPEC_KINDS: dict[str, type] = {
    "values": tuple,
    "distribution": str,
    **dict.fromkeys(("value", "min", "max", "q"), object),
}

# Fields on which no number of a run depends, up to any given step; on mesh and lanes none beyond rounding, so that what
# began on one machine can go on on another.
FREE = frozenset(
    {
        "data_dir",
        "mesh",
        "lanes",
        "steps_per_call",
        "resume",
        "checkpoint_seconds",
        "tracker",
        "wandb_project",
        "wandb_entity",
    }
    | {"evaluate_split"}
    | {"storage", "sweep.run_cap", "sweep.report_test"}
)
# Fields that a run cannot change on its way: its split, its place in an epoch or the shape of its state hang on them.
FIXED = frozenset(
    {"dataset", "fallback_dataset", "val_fraction", "stratified", "seed", "seeds", "hidden_sizes", "optimizer"}
    | {"precision", "batch_size"}
)

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a tuple such as 128,64",
    dict: "a dictionary",
    object: "a value",
}


def _float32(value: float) -> float:
    """The number as most runs see it: a beta of 1 − 1e-9 is 1, a learning rate of 1e-50 is 0."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _sizes(value: tuple[object, ...]) -> bool:
    return len(value) <= 1000 and all(type(size) is int and 1 <= size <= 1 << 20 for size in value)


def _axes(value: str) -> bool:
    size = r":[1-9]\d{0,4}(,(?!$)|$)"
    return re.fullmatch(f"(lanes{size})?(data{size})?(fsdp{size})?", value) is not None


_Range = tuple[Callable[[Any], bool], str]  # whether a value is allowed; what is allowed, in words


def _whole(low: int, high: int) -> _Range:
    return lambda value: low <= value <= high, f"a whole number from {low} to {high}"


def _each(names: str, rule: _Range) -> dict[str, _Range]:
    return dict.fromkeys(names.split(), rule)


def _weights(value: tuple[object, ...]) -> bool:
    numbers = [weight for weight in value if isinstance(weight, int | float) and is_number(weight)]
    right = len(numbers) == len(value) and all(0 <= _float32(weight) < math.inf for weight in numbers) and any(value)
    return right or value in ((), ("balanced",))


RANGES: dict[str, _Range] = {
    "dataset": (bool, "the name of a dataset, or the path of a folder or an .npz file"),
    "data_dir": (bool, "the path of a folder"),
    "hidden_sizes": (_sizes, f"a tuple of at most 1000 whole numbers from 1 to {1 << 20}, such as 128,64"),
    "class_weight": (_weights, "balanced, or a number from 0 up for each class, such as 1,2,1, one of them above 0"),
    "mesh": (_axes, "'', or one or more of lanes:N,data:N,fsdp:N in this order"),
    "seed": _whole(0, 2**32 - 1),  # 2³² + 1 would be the same key as 1
    "seeds": _whole(1, 1 << 16),
    **_each("batch_size steps_per_call", _whole(0, 2**31 - 1)),
    "num_epochs": _whole(1, 1_000_000),
    "early_stopping": _whole(0, 1_000_000),
    **_each("augment_shift augment_erase", _whole(0, 1000)),
    **_each(
        "val_fraction dropout_rate input_dropout_rate label_smoothing ema_decay augment_scale momentum "
        "beta beta1 beta2",
        (lambda value: value >= 0 and _float32(value) < 1, "a number from 0 to below 1"),
    ),
    **_each(
        "learning_rate eps vat_xi decay_epochs",  # with eps = 0, 0/0 would follow where a gradient is zero
        (lambda value: _float32(value) > 0, "a number above 0"),
    ),
    **_each(
        "init_scale noise weight_decay confidence_penalty vat_weight vat_eps clip_norm max_norm mixup_alpha "
        "warmup_epochs checkpoint_seconds augment_shear augment_elastic",
        (lambda value: value >= 0, "a number from 0 up"),
    ),
    "augment_rotation": (lambda value: 0 <= value <= 180, "a number from 0 to 180"),
    "decay_rate": (lambda value: _float32(value) > 0 and value <= 1, "a number above 0 and at most 1"),
    "final_factor": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
}


@cache
def choices() -> dict[str, Iterable[str]]:
    """field -> the names it may hold: the keys of the tables that implement them. Imports JAX, which takes a while."""
    from mlp_jax import gradients, losses, model, optimizers, schedules

    return {
        "activation": model.ACTIVATIONS,
        "init": model.INITIALIZERS,
        "norm": model.NORMS,
        "loss": losses.LOSSES,
        "optimizer": optimizers.OPTIMIZERS,
        "schedule": schedules.SCHEDULES,
        "gradient": gradients.GRADIENTS,
        "precision": model.PRECISIONS,
        "lanes": ("auto", "queue", "mixed"),
        "evaluate_split": ("test", "validation", "train"),
        "resume": ("strict", "changed", "never"),
        "tracker": ("none", "wandb", "tensorboard", "trackio"),
    }


def load(path: str | Path) -> ConfigDict:
    """The config that `get_config()` of a Python file returns, or of a sweep in W&B's YAML; checked field by field.

    Fields that it leaves out are those of `configs/default.py`. A Python file is code and is run.
    """
    path = Path(path)
    if not os.path.isfile(path):
        folders = dict.fromkeys((Path("configs"), path.parent))
        files = {file.stem: file for folder in folders for file in folder.glob("*.py")}
        nearest = difflib.get_close_matches(path.stem, files, n=1)
        hint = f"; did you mean {files[nearest[0]]}?" if nearest else ""
        raise UserError(f"--config: no file {str(path)!r}{hint}")
    try:
        if path.suffix in (".yaml", ".yml"):
            return _from_yaml(path)
        made_by = runpy.run_path(str(path)).get("get_config")
        if not callable(made_by):
            raise UserError("it has no function get_config()")
        fields = made_by()
        if not isinstance(fields, ConfigDict | Mapping):
            raise UserError(f"get_config() returned {fields!r}, not a ConfigDict")
        return complete(fields.to_dict() if isinstance(fields, ConfigDict) else fields)
    except UserError as error:
        raise UserError(f"--config: {path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"--config: {path}: {type(error).__name__}: {error}") from error


def _from_yaml(path: Path) -> ConfigDict:
    """The sweep of a file as `wandb sweep` takes it, with the fields that its command sets, but for W&B's tracker."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-3 as a number, which YAML 1.1 takes for a text."""

    number = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    given = yaml.load(path.read_bytes(), Loader)
    if not isinstance(given, dict) or not isinstance(given.get("parameters"), dict):
        raise UserError("it is no sweep of W&B's, a dictionary with method, metric and parameters")
    command = given.pop("command", None) or []
    given["parameters"] = {str(name).removeprefix("config."): spec for name, spec in given["parameters"].items()}
    flags = [match for word in command if (match := re.fullmatch(r"--config\.([^=]+)=(.*)", str(word), re.DOTALL))]
    config = override(complete({"sweep": given}), [(flag[1], flag[2]) for flag in flags])
    config.tracker = get_config().tracker
    return config


def checked(config: ConfigDict) -> ConfigDict:
    """The config as if it came from a file, for the library's own doors; UserError for what makes no sense."""
    config = complete(config.to_dict())
    validate(config)
    return config


def complete(fields: Mapping[str, Any]) -> ConfigDict:
    """A config of these fields, checked one by one, and the defaults of those left out; lists become tuples."""
    config = get_config()
    for field, value in fields.items():
        config[field] = check(field, value)
    for kind, field in (("sweep", "storage"), ("experiments", "budget"), ("experiments", "edition")):
        if kind in config and field not in config:
            config[field] = EXTRAS[field]
    return config


def override(config: ConfigDict, given: Iterable[tuple[str, str | None]]) -> ConfigDict:
    """A copy with the (field, text) pairs of a command line in place; 'sweep.run_cap' names a field of a field.

    A text of None, a field named without a value, says true.
    """
    config = config.copy_and_resolve_references()
    for path, text in given:
        path = own_path(path, config)
        holder, field, kind = _find(config, path)
        if text is None and kind is not bool:
            raise UserError(f"{path}: no value is given; allowed is {_KINDS[kind]}")
        try:
            value = _PARSERS[kind]("true" if text is None else text)
        except ValueError:
            refuse(path, text, _KINDS[kind])
        with holder.ignore_type():
            holder[field] = check(field, value) if holder is config else value
    return config


def own_path(path: str, config: ConfigDict) -> str:
    """The field that a name on the command line means: lr is learning_rate; what means none stays as it is."""
    return path if "." in path or path in config else own_field(path, config) or path


def _find(config: ConfigDict, path: str) -> tuple[ConfigDict, str, type]:
    """The dictionary that holds a dotted field, the field's name in it, and its type."""
    *parents, field = path.split(".")
    holder, kind = config, _sweep_kind(path) if "sweep" in config else None
    for name in parents:
        if kind is not None and name not in holder:
            holder[name] = ConfigDict()
        holder = holder.get(name)
        if not isinstance(holder, ConfigDict):
            raise _unknown_field(path, config)
    if kind is None and field in holder:
        kind = type(holder[field])
    if kind is None:
        raise _unknown_field(path, config)
    if kind not in _PARSERS:
        raise UserError(f"config field {path!r} cannot be set as a whole, only its parts: --config.{path}.NAME=VALUE")
    return holder, field, kind


def _sweep_kind(path: str) -> type | None:
    """The type of a key of a sweep's dictionary, as sweep.batch or sweep.parameters.learning_rate.min."""
    sweep, _, key = path.partition(".")
    spec = re.fullmatch(r"parameters\.[^.]+(?:\.parameters\.[^.]+)*\.([^.]+)", key)
    return None if sweep != "sweep" else _SPEC_KINDS.get(spec[1]) if spec else _SWEEP_KINDS.get(key)


def _unknown_field(path: str, config: ConfigDict) -> UserError:
    known = [*_flat(config), *(f"sweep.{key}" for key in _SWEEP_KINDS if "sweep" in config)]
    # Depth and width are fields of a sweep's alone.
    shape = own_field(path, ("num_layers", "hidden_size"))
    meant = "hidden_sizes" if shape else own_field(path, config)
    nearest = [meant] if meant else difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
    return UserError(f"config field {path!r} does not exist; {hint}")


def _elements(text: str) -> tuple[object, ...]:
    """'128,64', '(128, 64)', '[128]', 'relu,tanh', '()' and '' as tuples; what is no number is a word."""
    text = text.strip()
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1].strip()
    return tuple(_element(part.strip()) for part in text.removesuffix(",").split(",")) if text else ()


def _element(text: str) -> object:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text.strip("'\""))


_PARSERS: dict[type, Callable[[str], Any]] = {
    bool: flags.BooleanParser().parse,
    int: flags.IntegerParser().parse,
    float: flags.FloatParser().parse,
    str: str,
    tuple: _elements,
    object: _element,
}


def check(field: str, value: Any) -> Any:
    """The value as a config keeps it (1 as 1.0 in a float field, a list as a tuple).

    Raises a UserError that names the field, the value and what is allowed.
    """
    if field not in _DECLARED:
        raise _unknown_field(str(field), ConfigDict(_DECLARED))
    kind = type(_DECLARED[field])
    given = value = _plain(field, value)
    if field == "class_weight" and value == "balanced":
        value = (value,)
    if isinstance(value, str) and not ("dataset" in field and os.path.isdir(os.path.expanduser(value))):
        value = canonical(field, value)
    if kind is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    if type(value) is not kind:
        refuse(field, value, _KINDS[kind])
    if kind is float and not math.isfinite(_float32(value)):
        refuse(field, value, "a number that float32 can hold")
    if kind is str and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
        refuse(field, value, "a text without control characters")
    allowed, words = RANGES.get(field, (lambda _: True, ""))
    if not allowed(value):
        refuse(field, value, words)
    if field in (names := choices()) and value not in names[field]:
        raise not_one_of(field, given, names[field])
    if field == "data_dir" or (field in ("dataset", "fallback_dataset") and _is_path(field, value)):
        value = os.path.abspath(os.path.expanduser(value))  # config.json has to mean the same from anywhere
    return ConfigDict(value) if kind is dict else value


def _is_path(field: str, value: str) -> bool:
    """Whether a dataset is given as a path, not by its name; that it holds one is for `data.load` to see."""
    from mlp_jax.data.arrays import OWN
    from mlp_jax.data.datasets import ALLOWED, NAMES

    if value in NAMES or (field == "dataset" and value == OWN) or (field == "fallback_dataset" and not value):
        return False
    if os.path.dirname(value) or value.endswith(".npz") or os.path.isdir(os.path.expanduser(value)):
        return True
    raise not_one_of(field, value, ALLOWED)


def _plain(field: str, value: object) -> Any:
    """The value in JSON's types, with tuples for lists, since those can be overridden; UserError for any other type."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        refuse(field, value, "a finite number")
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, list | tuple):
        return tuple(_plain(field, element) for element in value)
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str) or "." in name:
                refuse(field, name, "a name without a dot")
        return {name: _plain(f"{field}.{name}", element) for name, element in value.items()}
    if not isinstance(value, bool | int | float | str | None):
        refuse(field, value, "a number, a text, a tuple or a dictionary of such")
    return value


def refuse(field: str, value: object, allowed: str) -> NoReturn:
    """Raises the UserError for a value that is not what is allowed."""
    raise UserError(f"{field}: {shown(value)} is not {allowed}")


def validate(config: ConfigDict) -> None:
    """Raises a UserError for the first field that does not fit another; `check` looks at each by itself."""
    from mlp_jax.data.datasets import check_mirrored

    if config.seed + config.seeds > 2**32:
        refuse("seeds", config.seeds, f"at most {2**32 - config.seed}: the last seed is below 2**32")
    if config.early_stopping and not config.val_fraction:
        refuse("early_stopping", config.early_stopping, "0, since val_fraction=0 leaves nothing to stop by")
    if config.warmup_epochs and config.warmup_epochs >= config.num_epochs:
        refuse("warmup_epochs", config.warmup_epochs, f"below num_epochs={config.num_epochs}")
    if config.augment_flip:
        check_mirrored(config.dataset)
    if "sweep" not in config:  # a sweep looks at its trials
        check_lanes(config)
    if config.norm != "none" and 1 in config.hidden_sizes:
        refuse("norm", config.norm, "none beside a hidden layer of 1 neuron, of which it leaves nothing")
    if config.tracker in ("wandb", "trackio") and not config.wandb_project:
        refuse("wandb_project", "", f"the name of a project, which tracker={config.tracker!r} needs")


def check_lanes(config: ConfigDict) -> None:
    """Raises a UserError that names the first field for which the config's net cannot be one of mixed lanes."""
    from mlp_jax.hparams import static_of
    from mlp_jax.lanes.mixed import unmixable
    from mlp_jax.lanes.placement import divides_lanes

    if config.lanes != "mixed":
        return
    field = (
        "mesh"
        if divides_lanes(config.mesh)
        else unmixable(static_of(config, 1, 2, 1, weighted=bool(config.class_weight)))
    )
    if field:
        refuse(field, config.get(field), "what lanes='mixed' can mix; allowed: lanes='auto', or the field's default")


def to_json(config: ConfigDict) -> str:
    """The config as JSON: every field, floats exact, no passwords."""
    return json.dumps(redact(config.to_dict()), indent=2, allow_nan=False) + "\n"


def write(config: ConfigDict, folder: Path) -> None:
    """Writes config.json into a workdir."""
    workdir.write_sealed(folder / FILE, json.loads(to_json(config)))


def from_json(path: str | Path) -> ConfigDict:
    """The config that `write` left in a file; a field that an older version did not have gets its default."""
    try:
        return complete(workdir.read_sealed(Path(path)))
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(f"{path}:") else f"{path}: {text}") from error


def folder_name(config: ConfigDict, dataset: str = "") -> str:
    """A readable name, fit for a file, such as fashion_mnist-adam-hl_3-sz_128-bs_32-ac_relu-lr_0.01-wd_0.0005.

    `dataset` is what is really trained on, where that is known. What comes last are the fields that differ from the
    default and decide a run's numbers.
    """
    dataset = re.sub(r"[^\w.-]+", "_", Path(dataset or config.dataset).resolve().name)[:60] or "data"
    if "experiments" in config:
        names = tuple(dict.fromkeys(config.experiments))
        return f"{dataset}-{names[0] if len(names) == 1 else f'experiments_{len(names)}'}-{config.budget}"
    if "sweep" in config:
        return f"{dataset}-sweep_{re.sub(r'[^a-z]', '', str(config.sweep.get('method')).lower())[:20]}"
    sizes = config.hidden_sizes
    width = "_".join(str(size) for size in (sizes[:1] if len(set(sizes)) == 1 else sizes))
    parts = [dataset, config.optimizer, f"hl_{len(sizes)}"]
    parts += [f"sz_{width if len(width) <= 60 else width[:60].rpartition('_')[0] + '_etc'}"] if sizes else []
    name = "-".join([*parts, f"bs_{config.batch_size or 'all'}", f"ac_{config.activation}"])
    said = {"dataset", "fallback_dataset", "optimizer", "hidden_sizes", "batch_size", "activation"}
    usual = get_config()
    differing = [field for field in usual if field not in FREE | said and config[field] != usual[field]]
    for field in sorted(differing, key=[*ABBREVIATIONS, *usual].index):
        value = f"{config[field]:.4g}" if isinstance(config[field], float) else config[field]
        longer = f"{name}-{ABBREVIATIONS.get(field, field)}_{value}"
        if len(longer.encode()) > LONGEST_NAME:
            return f"{name}-etc"
        name = longer
    return name


def fingerprint(config: ConfigDict) -> str:
    """SHA-256 of the fields that decide a run's numbers up to any given step, passwords apart."""
    deciding = {field: value for field, value in _flat(config).items() if not _may_change(field, config)}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def changed_fields(old: ConfigDict, new: ConfigDict) -> tuple[str, ...]:
    """The fields that decide a run's numbers and differ, nested ones as 'sweep.method'."""
    before, after = _flat(old), _flat(new)
    missing = object()
    differing = [field for field in {**before, **after} if before.get(field, missing) != after.get(field, missing)]
    return tuple(field for field in differing if field not in FREE)


def check_resume(stored: ConfigDict, config: ConfigDict, workdir: str | Path) -> None:
    """Raise a UserError that names the fields for which a run stored in `workdir` cannot go on under `config`.

    Nothing may differ under resume='strict' but `FREE` fields and a larger `num_epochs` where the schedule does not
    depend on it; all but `FIXED` fields under 'changed'. 'never' does not resume, so all may.
    """
    if config.resume == "never":
        return
    before, after = _flat(stored), _flat(config)
    grows = _may_change("num_epochs", config) and config.num_epochs > stored.num_epochs
    both = "experiments" in stored and "experiments" in config  # a set may get more experiments, a larger budget
    changed = [
        field
        for field in changed_fields(stored, config)
        if not (field == "num_epochs" and grows) and not (both and field in ("experiments", "budget", "edition"))
    ]
    fixed = [field for field in changed if field in FIXED or field.split(".")[0] in EXTRAS]
    refused = changed if config.resume == "strict" else fixed
    if refused:
        given = ", ".join(f"{field} ({before.get(field)!r}, now {after.get(field)!r})" for field in refused)
        ways = ["another --workdir", "--config.resume=never to start over"]
        ways += [] if fixed else ["--config.resume=changed to go on all the same"]
        raise UserError(f"{workdir} holds a run with another {given}; allowed: {', '.join(ways)}")


def _may_change(field: str, config: ConfigDict) -> bool:
    """Whether another value of the field leaves every number up to a given step as it is."""
    from mlp_jax.schedules import DEPENDS_ON_LENGTH

    if field == "num_epochs":
        return config.schedule not in DEPENDS_ON_LENGTH and "sweep" not in config
    return field in FREE


def _flat(config: ConfigDict) -> dict[str, Any]:
    """'sweep.method' -> value, for every field that holds no further ones."""

    def walk(fields: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in fields.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(config.to_dict(), ""))
