"""A laboratory for multilayer perceptrons in pure functional JAX."""
