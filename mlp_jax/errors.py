"""The errors that a user sees as a single line, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave. The message names the thing, what was given and what is allowed."""


class Diverged(Exception):
    """A loss or a gradient that is not finite ended a run. The message says where, and the likely cause."""


class Interrupted(Exception):
    """A signal ended a run after its checkpoint. The message says how to go on."""


def not_one_of(name: str, given: object, allowed: Iterable[object]) -> UserError:
    """The error for a value outside a list of choices, with the nearest choice for a misspelt one."""
    choices = [str(choice) for choice in allowed]
    nearest = difflib.get_close_matches(str(given), choices, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return UserError(f"{name}: {given!r} is not one of {', '.join(choices)}{hint}")
