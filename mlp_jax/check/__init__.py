"""Whose gradient is wrong, and why: checks of networks, gradients and optimizers that somebody else has written."""
