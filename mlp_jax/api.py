"""The Python interface: nets, gradients, runs, populations and sweeps, each in one call."""
