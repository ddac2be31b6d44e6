"""The program itself as a contestant: one lane, or lanes at the same time."""

import threading
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import reference
from benchmarks.jobs import Job, data
from benchmarks.measure import Epoch
from mlp_jax.data.arrays import Dataset
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.fit import Chunk, Task, make_task, order_of, place_data
from mlp_jax.lanes.placement import placements
from mlp_jax.runs import config

COMPILE_SECONDS: dict[Job, float] = {}


def task_of(job: Job, place: int = 0, **fields: Any) -> Task:
    """A job as a config without validation, made ready for a device."""
    images, labels = data(job.examples)
    dataset = Dataset("random", images, labels, tuple("0123456789"), (28, 28), 255, "", lambda: (images, labels))
    placement = placements(f"lanes:{len(jax.devices())}")[place]
    fields = {
        "batch_size": job.batch,
        "hidden_sizes": (job.width,) * job.depth,
        "optimizer": job.optimizer,
        "precision": job.precision,
        "activation": job.activation,
        "val_fraction": 0.0,
        **fields,
    }
    return make_task(config.complete(fields), dataset, place_data(images, labels, 255, placement), placement)


def one_lane(job: Job, place: int = 0) -> Epoch:
    """The program of a single run; its compile time goes to COMPILE_SECONDS."""
    task, compiler = task_of(job, place), Compiler()
    program, order = compiler(task), order_of(task, 1)
    COMPILE_SECONDS[job] = compiler.seconds
    steps = order.indices.shape[0]
    lane = program.init(task.hparams, task.keys)

    def epoch() -> None:
        nonlocal lane
        lane = program.train_steps(task.hparams, task.keys, task.data, order, lane, (np.int32(0), np.int32(steps)))
        jax.block_until_ready(lane)

    return epoch


def lanes_in_turn(job: Job) -> Epoch:
    """A lane on every device at once, as a population trains on a CPU."""
    lanes = [one_lane(job, place) for place in range(len(jax.devices()))]

    def epoch() -> None:
        threads = [threading.Thread(target=lane) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return epoch


def lanes_side_by_side(job: Job, count: int) -> Epoch:
    """`count` lanes side by side on one device, as a population trains on an accelerator."""
    tasks = [task_of(job, learning_rate=1e-3 / (1 + index)) for index in range(min(count, 2))]
    chunk, first = Chunk((tasks * count)[:count], count, True), tasks[0]
    start = time.perf_counter()
    program = Compiler().side_by_side(chunk)
    COMPILE_SECONDS[job] = time.perf_counter() - start
    order = chunk.orders(1)
    lane = program.init(chunk.hparams, chunk.keys)
    steps = order.indices.shape[0]

    def epoch() -> None:
        nonlocal lane
        lane = program.train_steps(chunk.hparams, chunk.keys, first.data, order, lane, (np.int32(0), np.int32(steps)))
        jax.block_until_ready(lane)

    return epoch


def obvious(job: Job) -> Epoch:
    """The frozen reference: the obvious scan, ReLU and Adam in float32."""
    images, labels = jax.device_put(data(job.examples))
    order = np.random.default_rng(0).permutation(job.examples)[: job.examples // job.batch * job.batch]
    rows = jax.device_put(order.reshape(-1, job.batch).astype(np.int32))
    state = reference.start(jax.random.key(0), job.sizes)
    train = partial(reference.epoch, images=images, labels=labels.astype(np.int32))

    def epoch() -> None:
        nonlocal state
        state, _ = train(state, rows, 1e-3)
        jax.block_until_ready(state)

    return epoch
