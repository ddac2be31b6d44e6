"""Where things lie: one device, or a mesh over which each minibatch is divided. The code of a step knows neither."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from mlp_jax.errors import UserError

AXES = ("lanes", "data", "fsdp")
# Of each device. By the compilers' estimates of a net of 784-128×3-10 four devices break even with one at a batch of
# 256 (TPU v5e) to 4,096 (H100).
ROWS_WORTH_DIVIDING = 256


class Placement(NamedTuple):
    """`whole` is for what every device has a copy of, `rows` for an index matrix with its columns in `shards` parts.

    Of `parts` > 1 every device keeps one part in so many of each weight matrix and of all that has its shape (moments,
    best parameters); it is put together where a product needs it.
    """

    whole: Any
    rows: Any
    shards: int
    parts: int = 1


def parse_mesh(mesh: str) -> dict[str, int]:
    """'lanes:2,data:4' -> {'lanes': 2, 'data': 4, 'fsdp': 1}; an axis left out has one device."""
    sizes = dict.fromkeys(AXES, 1)
    for part in filter(None, mesh.split(",")):
        axis, _, size = part.partition(":")
        if axis not in sizes or not size.isdigit() or int(size) < 1:
            raise UserError(f"mesh: {mesh!r} is not made of 'lanes:N', 'data:N' and 'fsdp:N', in this order")
        sizes[axis] = int(size)
    return sizes


def divides_lanes(mesh: str) -> bool:
    """Whether a lane lies on several devices."""
    sizes = parse_mesh(mesh)
    return sizes["data"] * sizes["fsdp"] > 1


def on_device(device: jax.Device) -> Placement:
    """Everything on one device."""
    return Placement(SingleDeviceSharding(device), SingleDeviceSharding(device), 1)


def over_devices(devices: list[jax.Device], parts: int = 1) -> Placement:
    """Data parallel over `devices`: each minibatch divided among all, the weights among every `parts` neighbours."""
    if len(devices) == 1:
        return on_device(devices[0])
    mesh = Mesh(np.array(devices).reshape(-1, parts), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    rows = PartitionSpec(None, ("data", "fsdp"))
    return Placement(NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, rows), len(devices), parts)


def over_lanes(devices: list[jax.Device]) -> Placement:
    """Lanes divided among `devices`; what they share is on every one."""
    if len(devices) == 1:
        return on_device(devices[0])
    whole = NamedSharding(Mesh(np.array(devices), ("lanes",), axis_types=(AxisType.Auto,)), PartitionSpec())
    return Placement(whole, whole, 1)


def lane_shardings(placement: Placement, axes: Any) -> Any:
    """Where each leaf lies, by a pytree that says which of a leaf's axes counts the lanes; −1: none."""
    mesh = getattr(placement.whole, "mesh", None)

    def of_leaf(axis: int) -> Sharding:
        if axis < 0 or mesh is None or "lanes" not in mesh.axis_names:
            return placement.whole
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "lanes"))

    return jax.tree.map(of_leaf, axes)


def platform(placement: Placement) -> str:
    """'cpu', 'gpu' or 'tpu'."""
    name = next(iter(placement.whole.device_set)).platform
    return "gpu" if name in ("cuda", "rocm") else name


def state_shardings(placement: Placement, tree: Any) -> Any:
    """Where each leaf of a lane lies: a matrix in `parts` parts along its longest axis that divides, the rest whole."""

    def of_leaf(leaf: Any) -> Sharding:
        lengths = [length if length % placement.parts == 0 else 0 for length in leaf.shape]
        if placement.parts == 1 or len(lengths) < 2 or not max(lengths):
            return placement.whole
        axis = lengths.index(max(lengths))
        return NamedSharding(placement.whole.mesh, PartitionSpec(*[None] * axis, "fsdp"))

    return jax.tree.map(of_leaf, tree)


def put(tree: Any, shardings: Any) -> Any:
    """A pytree on the devices, `shardings` one for all leaves or a pytree of them.

    Of several processes each has the whole tree and gives what its own devices are to hold; nothing is sent.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    if isinstance(shardings, Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(_put_leaf, tree, shardings)


def _put_leaf(leaf: Any, sharding: Sharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put_leaf(jax.random.key_data(leaf), sharding))
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def fetch(tree: Any) -> Any:
    """A pytree on the host, in every process, from wherever its parts lie."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))


def placements(mesh: str, lanes: bool = False, batch: int = 0) -> list[Placement]:
    """One placement for every lane (of an accelerator: chunk of lanes) that trains at the same time.

    Where `config.mesh` says nothing, a population's `lanes` take a device each, as do all on a CPU; a run alone takes
    all devices of an accelerator if a step's `batch` of rows (0: the whole epoch's) is worth dividing, else the first.
    """
    devices = jax.devices()
    sizes = parse_mesh(mesh)
    if not mesh:
        small = devices[0].platform == "cpu" or 0 < batch < ROWS_WORTH_DIVIDING * len(devices)
        alone = jax.process_count() == 1 and small
        sizes |= {"lanes" if lanes or alone else "data": len(devices)}
    count, each = sizes["lanes"], sizes["data"] * sizes["fsdp"]
    if count * each > len(devices):
        raise UserError(f"mesh: {mesh!r} asks for {count * each} devices; there are {len(devices)}")
    if jax.process_count() > 1 and (count > 1 or each < len(devices)):
        raise UserError(f"mesh: {mesh!r} leaves a process without work; allowed is 'data:{len(devices)}'")
    return [over_devices(devices[lane * each : (lane + 1) * each], sizes["fsdp"]) for lane in range(count)]
