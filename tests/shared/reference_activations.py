"""The activations in NumPy and SciPy, from their definitions."""

import numpy as np
from scipy import special, stats

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "elu": lambda z: np.maximum(z, 0) + np.expm1(np.minimum(z, 0)),
    "gelu": lambda z: z * stats.norm.cdf(z),
    "swish": lambda z: z / (1 + np.exp(-z)),
}
