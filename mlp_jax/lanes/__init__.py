"""Networks on devices: where they lie, how they are compiled, the loop that trains them."""
