"""The errors that a user sees as one line without a traceback, how lines quote values, and what no line may show."""

import difflib
import os
import re
import reprlib
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

SHORTEST_KEY = 8  # characters; W&B's have 40, and taking out a shorter word would garble a text


class UserError(ValueError):
    """A mistake in what the user gave. The message names the thing, what was given and what is allowed."""


class Diverged(Exception):
    """A loss or a gradient that is not finite ended a run. The message says where, and the likely cause."""


class Interrupted(Exception):
    """A signal ended a run after its checkpoint. The message says how to go on."""


def is_number(value: object) -> bool:
    """Whether a value is a finite number that float64 can hold; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def shown(value: object) -> str:
    """A value as a message quotes it: in one line, however long or deep it is."""
    quote = reprlib.Repr()
    quote.maxstring = quote.maxother = 80
    try:
        return quote.repr(value)
    except ValueError:  # an int of more than 4300 digits
        return "a number too long to print"


def not_one_of(name: str, given: object, allowed: Iterable[object]) -> UserError:
    """The error for a value outside a list of choices, with the nearest choice for a misspelt one."""
    choices, quoted = [str(choice) for choice in allowed], shown(given)
    word = quoted.strip("'")
    longer = [choice for choice in choices if word and choice.startswith(word)]
    nearest = longer[0] if longer else closest(word, choices)
    hint = f"; did you mean {nearest}?" if nearest else ""
    return UserError(f"{name}: {quoted} is not one of {', '.join(choices)}{hint}")


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a misspelt word resembles most, in any case of letters; None where none does."""
    lower = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(word.lower(), lower, n=1)
    return lower[nearest[0]] if nearest else None


def import_extra(package: str, what: str, extra: str) -> Any:
    """The module `package`, which the extra `extra` of mlp-jax brings; a UserError says that `what` needs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f'{what} needs {package} ({error}): pip install "mlp-jax[{extra}]"') from None


def as_flags(fields: Mapping[str, object]) -> list[str]:
    """Config fields as flags of main.py."""
    return [f"--config.{field}={as_flag(value)}" for field, value in fields.items()]


def as_flag(value: object) -> str:
    """A config value as the command line takes it: a tuple as 128,64 and the empty one as ()."""
    return ",".join(map(str, value)) or "()" if isinstance(value, list | tuple) else str(value)


def redact(value: Any) -> Any:
    """Text without W&B's key and the passwords of URLs, 'postgresql://me@host/db'; containers item by item."""
    if isinstance(value, str):
        key = os.environ.get("WANDB_API_KEY", "")
        shown = value.replace(key, "…") if len(key) >= SHORTEST_KEY else value
        return _URL.sub(lambda found: _redact_url(found[0]), shown)
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET_PARAMETER = re.compile(r"(?i)(?<=[?&])[^=&#\s]*(passw|pwd|secret|token|api_?key)[^=&#\s]*=[^&#\s]*&?")


def _redact_url(url: str) -> str:
    """Errs on the safe side: a password with an unquoted @ or / in it goes whole."""
    scheme, rest = url.split("://", 1)
    name, _, after = rest.partition(":")
    is_port = re.match(r"[0-9]*([/?#]|$)", after)
    if "@" in after and not is_port and not set(name) & set("/?#@["):
        path = after.partition("?")[0]
        rest = name + after[(path if "@" in path else after).rindex("@") :]
    shorter, count = _SECRET_PARAMETER.subn("", rest)
    return f"{scheme}://{shorter.rstrip('?&') if count else rest}"
