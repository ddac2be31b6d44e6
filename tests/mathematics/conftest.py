"""What several tests of the mathematics share."""

import jax
import pytest


@pytest.fixture(scope="module")
def x64():
    """Arrays of 64 bits: `pytestmark = pytest.mark.usefixtures("x64")`."""
    with jax.enable_x64(True):
        yield
