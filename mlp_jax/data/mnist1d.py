"""MNIST-1D, generated: ten templates of a dozen points, distorted into signals of 40 numbers.

Greydanus & Kobak 2024, "Scaling Down Deep Learning with MNIST-1D" (arXiv 2011.14439). The numbers are drawn from their
generator's stream, seed 42, in its order: the same data set as github.com/greydanus/mnist1d makes, to rounding.
"""

import numpy as np

EXAMPLES, TRAIN, SEED = 5000, 4000, 42
_PADDING = (36, 60)  # fewest and most zeros behind a template
_LENGTH = 12 + _PADDING[1]  # to which a padded template is stretched
_SCALE, _SHIFT, _CORRELATED, _WHITE, _SHEAR, _SAMPLES = 0.4, 48, 0.25, 0.02, 0.75, 40

# A digit a line, as a pen stroke's height from left to right.
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def generate() -> tuple[np.ndarray, np.ndarray]:
    """Signals, float32 (5000, 40), with mean 0 and variance 1 over all, and labels (5000,); the first 4,000 train."""
    stream = np.random.RandomState(SEED)  # the old generator, whose numbers NumPy keeps for good
    templates = np.array(_TEMPLATES)
    templates = (templates - templates.mean(1, keepdims=True)) / templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6  # begin and end at 0
    each = EXAMPLES // len(templates)
    signals = np.array([_distort(template, stream) for template in templates for _ in range(each)])
    order = stream.permutation(EXAMPLES)
    signals = ((signals - signals.mean()) / signals.std()).astype(np.float32)  # float32: equal on every machine
    return signals[order], np.repeat(np.arange(len(templates)), each)[order]


def _distort(template: np.ndarray, stream: np.random.RandomState) -> np.ndarray:
    """One example: padded, stretched, scaled, shifted in a circle, noisy, sheared, and sampled at 40 points."""
    low, high = _PADDING
    zeros = low + int(stream.rand() * (high - low + 1))
    x = _resample(np.concatenate([template + 1e-8, np.zeros(zeros)]), _LENGTH)
    x = x * (1 + _SCALE * (stream.rand() - 0.5))
    x = np.roll(x, stream.choice(_SHIFT))
    background = _smooth(_CORRELATED * stream.randn(_LENGTH))
    x = np.where(x != 0, x, background) + _WHITE * stream.randn(_LENGTH)
    x = x - _SHEAR * (stream.rand() - 0.5) * np.linspace(-0.5, 0.5, _LENGTH)
    return _resample(x, _SAMPLES)


def _resample(x: np.ndarray, length: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(x)), x)


def _smooth(noise: np.ndarray) -> np.ndarray:
    """Under a Gaussian of standard deviation 2, cut off at 4 of them; mirrored at the ends."""
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    return np.convolve(np.pad(noise, 8, mode="symmetric"), kernel / kernel.sum(), mode="valid")
