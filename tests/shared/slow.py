"""Parameters that `make test` takes a part of, and `make test-all` all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def fast(values: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """The values as parameters, marked slow but for those in `kept`."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values]
