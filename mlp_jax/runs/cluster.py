"""Several processes as one run: they find each other, agree on what each sees alone, and end together.

Each process drives its own devices and runs the same program (JAX's distributed runtime); process 0 writes and prints.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import UserError

HEARTBEAT_SECONDS = 20  # of silence after which a process counts as dead
FORM = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5}")
GONE = "another process of this run has ended or is out of reach; start all again: they go on from the last checkpoint"
# What the runtime of the others says when a peer is gone: the end of a connection, or of patience.
_SIGNS = re.compile(r"Gloo|NCCL|RCCL|oordination service|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED|[Pp]eer|[Bb]arrier")
_CPP_FATAL = re.compile(rb"F\d{4} \d\d:\d\d:\d\d\.\d+ |terminate called")
_CPP_OTHER = re.compile(rb"\[Gloo\] Rank |[WEI]\d{4} \d\d:\d\d:\d\d\.\d+ |Additional GRPC error information ")
_OURS = re.compile(rb"\S+\.py: |Traceback |warning: ")  # how all begins that the program itself says on stderr


class Joining(NamedTuple):
    """The flags that tell a process of its peers; `coordinator` '' is a run of one process."""

    coordinator: str = ""  # HOST:PORT of process 0, or auto: as Slurm, Kubernetes, Open MPI or a TPU pod say
    num_processes: int | None = None
    process_id: int | None = None


ALONE = Joining()


def check(joining: Joining, population: bool, workdir: str) -> None:
    """Raises UserError for flags that make no sense, alone or together."""
    coordinator, count, number = joining
    for flag, value in (("--num_processes", count), ("--process_id", number)):
        if value is not None and coordinator in ("", "auto"):
            need = "--coordinator=HOST:PORT beside it" if not coordinator else "no --coordinator=auto beside it"
            raise UserError(f"{flag}: {value} needs {need}")
    if not coordinator:
        return
    if coordinator != "auto":
        if not FORM.fullmatch(coordinator) or not 0 < int(coordinator.rpartition(":")[2]) < 1 << 16:
            raise UserError(f"--coordinator: {coordinator!r} is not HOST:PORT of process 0, nor auto")
        if count is None or number is None:
            missing = "--num_processes" if count is None else "--process_id"
            raise UserError(f"{missing}: is missing; --coordinator={coordinator} needs it")
        if count < 1:
            raise UserError(f"--num_processes: {count} is not a whole number from 1 up")
        if not 0 <= number < count:
            raise UserError(f"--process_id: {number} is not from 0 to {count - 1}, below --num_processes={count}")
    if population:
        raise UserError(
            "--coordinator: it divides one run over processes; seeds stay in one process, and the workers of a sweep "
            "are started without it and share config.storage"
        )
    if not workdir:
        raise UserError("--workdir: several processes need one, a folder that all of them see")


def join(joining: Joining) -> int:
    """Meets the other processes, before JAX's first computation; the number of processes.

    From then on a process whose peer dies ends within a minute with the line `GONE`, whatever it was doing.
    """
    if not joining.coordinator:
        return 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _filter_stderr()
    import jax

    # A no-op where there is an accelerator.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    by_hand = joining.coordinator != "auto"
    try:
        jax.distributed.initialize(
            coordinator_address=joining.coordinator if by_hand else None,
            num_processes=joining.num_processes,
            process_id=joining.process_id,
            cluster_detection_method="deactivate" if by_hand else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"--coordinator: {joining.coordinator}: the processes do not meet: {why}") from error
    number, count = _place(joining)
    _keep_stdout(for_us=number == 0)
    return count


def _place(joining: Joining) -> tuple[int, int]:
    """Which process this is, and of how many: JAX tells only once it has begun, too late to choose devices."""
    if joining.process_id is not None and joining.num_processes is not None:
        return joining.process_id, joining.num_processes
    from jax._src.distributed import global_state

    return global_state.process_id, global_state.num_processes


def _keep_stdout(for_us: bool) -> None:
    """Leaves stdout to process 0, and there to Python: Gloo prints a line for each group of devices."""
    sys.stdout.flush()
    sys.stdout = open(os.dup(1) if for_us else os.devnull, "w", buffering=1)  # noqa: SIM115 (to the process's end)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave(status: int, agreed: bool) -> None:
    """Ends a process of several: after an end that all came to it waits for them, else it takes them with it.

    A run of one process it leaves alone. Without `os._exit` JAX would wait for peers that are gone.
    """
    if not joined():
        return
    import jax

    if agreed:
        jax.distributed.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def joined() -> bool:
    """Whether this process has met others."""
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def is_loss_of_peer(error: BaseException) -> bool:
    """Whether an exception says that another process is gone."""
    return joined() and _SIGNS.search(str(error)) is not None


def together(point: str) -> None:
    """Waits until every process has come to `point`."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(point)


def of_all(values: Any) -> Any:
    """A vector of small numbers from every process -> (processes, length) on the host, the same in each."""
    import numpy as np
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(values, np.int32))).reshape(-1, len(values))


def agree(what: str, text: str) -> None:
    """UserError in every process unless `text` is the same in all of them."""
    import jax

    if jax.process_count() == 1:
        return
    rows = of_all([int.from_bytes(hashlib.sha256(text.encode()).digest()[:3], "big")])
    if (rows != rows[0]).any():
        raise UserError(f"--coordinator: the processes differ in {what}; all need the same")


def _filter_stderr() -> None:
    """A child process passes on what this one says on stderr; of the runtime's last words it makes one line.

    They come from a C++ thread that prints a stack and aborts, so that nothing within this process could say less.
    """
    command = [sys.executable, "-m", "mlp_jax.runs.cluster", os.path.basename(sys.argv[0])]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    assert child.stdin is not None
    os.dup2(child.stdin.fileno(), 2)
    child.stdin.close()
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def relayed(lines: Iterable[bytes], program: str) -> Iterator[bytes]:
    """The lines that are to be seen: without what the C++ runtime says, and with `GONE` once where it said its last."""
    said = fatal = other = False
    for line in lines:
        fatal = fatal or _CPP_FATAL.match(line) is not None
        # What another program's line is followed by belongs to it.
        other = _OURS.match(line) is None and (other or _CPP_OTHER.match(line) is not None)
        gone = GONE.encode() in line
        if not (fatal or other or (said and gone)):
            said = said or gone
            yield line
    if fatal and not said:
        yield f"{program}: {GONE}\n".encode()


if __name__ == "__main__":  # the child: it ends when the pipe does, whatever signal comes
    for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        signal.signal(number, signal.SIG_IGN)
    for line in relayed(sys.stdin.buffer, sys.argv[1]):
        os.write(2, line)
