"""The command line of mlp_jax from its checkout: `python main.py --config=configs/adam.py`."""

import sys

from mlp_jax.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
