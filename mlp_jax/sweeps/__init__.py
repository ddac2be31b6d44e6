"""A sweep, from its dictionary to the best trial."""
