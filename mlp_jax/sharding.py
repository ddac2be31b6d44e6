"""Where things lie: one device, or a mesh over which each minibatch is divided. The code of a step knows neither."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from mlp_jax.errors import UserError


class Placement(NamedTuple):
    """`whole` is for what every device has a copy of, `rows` for an index matrix with its columns in `shards` parts."""

    whole: Any
    rows: Any
    shards: int


def parse_mesh(mesh: str) -> dict[str, int]:
    """'lanes:2,data:4' -> {'lanes': 2, 'data': 4}; an axis left out has one device."""
    sizes = {"lanes": 1, "data": 1}
    for part in filter(None, mesh.split(",")):
        axis, _, size = part.partition(":")
        if axis not in sizes or not size.isdigit() or int(size) < 1:
            raise UserError(f"mesh: {mesh!r} is not of the form 'data:N', 'lanes:N' or 'lanes:N,data:M'")
        sizes[axis] = int(size)
    return sizes


def on_device(device: jax.Device) -> Placement:
    """Everything on one device."""
    return Placement(SingleDeviceSharding(device), SingleDeviceSharding(device), 1)


def over_devices(devices: list[jax.Device]) -> Placement:
    """Data parallel over `devices`: parameters and data replicated, each minibatch divided."""
    if len(devices) == 1:
        return on_device(devices[0])
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    return Placement(
        NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "data")), len(devices)
    )


def placements(mesh: str) -> list[Placement]:
    """One placement for every lane that trains at the same time, as `config.mesh` says.

    By default a CPU's devices take a lane each, and an accelerator's devices together take one.
    """
    devices = jax.devices()
    sizes = parse_mesh(mesh)
    if not mesh:
        on_cpu = devices[0].platform == "cpu"
        sizes = {"lanes": len(devices) if on_cpu else 1, "data": 1 if on_cpu else len(devices)}
    lanes, data = sizes["lanes"], sizes["data"]
    if lanes * data > len(devices):
        raise UserError(f"mesh: {mesh!r} asks for {lanes * data} devices; there are {len(devices)}")
    return [over_devices(devices[lane * data : (lane + 1) * data]) for lane in range(lanes)]
