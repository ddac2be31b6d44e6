"""The default run. Every field of a config, with its unit and its reason, stands in mlp_jax/runs/defaults.py.

    python main.py [--config.FIELD=VALUE …]

It stands there, not here, so that an installed package has it; the other configs override a few fields of it.
"""

from mlp_jax.runs.defaults import get_config

__all__ = ["get_config"]
