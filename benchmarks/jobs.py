"""What is timed: a network and the random images that it trains on; the work does not depend on what they show."""

import itertools
from typing import NamedTuple

import numpy as np


class Job(NamedTuple):
    """One epoch of `examples` images in batches of `batch`."""

    batch: int = 32
    examples: int = 54_000
    width: int = 128
    depth: int = 3
    optimizer: str = "adam"
    precision: str = "float32"
    activation: str = "relu"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden …, classes."""
        return (784, *(self.width,) * self.depth, 10)

    @property
    def flops(self) -> int:
        """Useful ones of an epoch: forward and weight gradients of all layers, input gradients of all but the first."""
        products = [a * b for a, b in itertools.pairwise(self.sizes)]
        return 2 * (3 * sum(products) - products[0]) * self.examples


def data(examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (examples, 784) and labels uint8 (examples,)."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (examples, 784), np.uint8)
    return images, generator.integers(0, 10, examples).astype(np.uint8)
