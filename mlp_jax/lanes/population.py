"""Many lanes. On a CPU every device takes the next one from a queue, so that a lane is exactly a single run.

On an accelerator every device takes the next chunk of lanes of one shape, which train side by side.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.hparams import Static, split_config
from mlp_jax.lanes.compile import Compiler, chunk_size
from mlp_jax.lanes.fit import Chunk, NotFinite, Record, fit, fit_side_by_side, make_task, place_dataset, place_lane
from mlp_jax.lanes.placement import Placement, placements
from mlp_jax.training import Data, Lane


class Member(NamedTuple):
    """One lane of a population and how far it is; `lane` is on the host, None before the first step."""

    config: ConfigDict
    lane: Lane | None = None
    records: tuple[Record, ...] = ()
    diverged: bool = False


class Population:
    """The places where lanes train at the same time, the data that lies there, and the programs compiled for them."""

    def __init__(self, dataset: Dataset, mesh: str = "", chunk: int = 0, compiler: Compiler | None = None) -> None:
        """`chunk` lanes train side by side at each place; 0: one on a CPU, what the memory holds elsewhere."""
        self.dataset = dataset
        self.compiler = compiler or Compiler()
        self._chunk = chunk or int(jax.devices()[0].platform == "cpu")
        self._places: list[tuple[Data, Placement]] = [
            (place_dataset(dataset, place), place) for place in placements(mesh, lanes=True)
        ]

    @property
    def first_place(self) -> tuple[Data, Placement]:
        """Where a single lane would train."""
        return self._places[0]

    def train(self, members: Sequence[Member], until: int | None = None) -> Iterator[tuple[int, Member]]:
        """Trains every member to epoch `until` (None: to its end); yields (index, member) as each gets there.

        A member whose loss is not finite comes back with `diverged` set and stops nobody else. Closing the iterator
        stops the others at the end of the call of the program they are in.
        """
        chunks = self._chunks(members)
        work = _Work([static.trained for static, _ in chunks])
        done: queue.Queue[tuple[int, Member] | BaseException] = queue.Queue()
        stop = threading.Event()
        shared = len({member.config.seed for member in members}) == 1
        train = self._train_one if self._chunk == 1 else partial(self._train_side_by_side, shared)
        wide = jax.config.values["jax_enable_x64"]  # of this thread; a new one has the process's setting

        def run(place: int) -> None:
            try:
                with jax.enable_x64(wide):
                    while not stop.is_set() and (number := work.take(place)) is not None:
                        for ended in train(chunks[number][1], place, until, stop):
                            done.put(ended)
            except BaseException as error:
                done.put(error)

        threads = [threading.Thread(target=run, args=(place,)) for place in range(len(self._places))]
        for thread in threads:
            thread.start()
        try:
            for _ in members:
                result = done.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _chunks(self, members: Sequence[Member]) -> list[tuple[Static, dict[int, Member]]]:
        """Members of one shape that are equally far, in chunks, by their indices."""
        data = self.dataset
        counts = data.train_images.shape[1], len(data.class_names), len(data.train_labels)
        groups: dict[tuple[Static, int], list[int]] = {}
        for index, member in enumerate(members):
            weights = np.ones(len(data.class_names)) if member.config.class_weight or len(data.sample_weight) else ()
            static, _ = split_config(member.config, *counts, class_weight=weights)
            groups.setdefault((static, len(member.records)), []).append(index)
        return [
            (static, {index: members[index] for index in indices[start : start + size]})
            for (static, _), indices in groups.items()
            for size in [self._size(static)]
            for start in range(0, len(indices), size)
        ]

    def _size(self, static: Static) -> int:
        return self._chunk or chunk_size(static, jax.local_devices()[0], len(self._places))

    def _train_one(
        self, chunk: dict[int, Member], place: int, until: int | None, stop: threading.Event
    ) -> Iterator[tuple[int, Member]]:
        ((index, member),) = chunk.items()
        task = make_task(member.config, self.dataset, *self._places[place])
        lane = None if member.lane is None else place_lane(member.lane, task.placement)
        records, last = list(member.records), until or member.config.num_epochs
        try:
            for event in fit(task, self.compiler(task), lane) if len(records) < last else ():
                lane = event.lane
                if event.record is not None:
                    records.append(event.record)
                if stop.is_set() or len(records) >= last:
                    break
            yield index, member._replace(lane=jax.device_get(lane), records=tuple(records))
        except NotFinite as bad:
            yield index, member._replace(records=(*records, bad.record), diverged=True)

    def _train_side_by_side(
        self, shared: bool, chunk: dict[int, Member], place: int, until: int | None, stop: threading.Event
    ) -> Iterator[tuple[int, Member]]:
        indices, members = list(chunk), list(chunk.values())
        tasks = [make_task(member.config, self.dataset, *self._places[place]) for member in members]
        lanes = Chunk(tasks, self._size(tasks[0].static), shared)
        states = [member.lane for member in members if member.lane is not None]
        records = [list(member.records) for member in members]
        program = self.compiler.side_by_side(lanes)
        for number, record, lane, diverged in fit_side_by_side(lanes, program, states, until):
            records[number].append(record)
            if lane is not None:
                ended = members[number]._replace(lane=lane, records=tuple(records[number]), diverged=diverged)
                yield indices[number], ended
            if stop.is_set():
                return


class _Work:
    """The chunks that wait. A place takes one whose program it has, else one that nobody has begun, else any."""

    def __init__(self, shapes: list[Static]) -> None:
        self._shapes = shapes
        self._waiting = list(range(len(shapes)))
        self._compiled: dict[int, set[Static]] = {}
        self._guard = threading.Lock()

    def take(self, place: int) -> int | None:
        """The number of the next chunk for a place, None when none waits."""
        with self._guard:
            if not self._waiting:
                return None
            mine = self._compiled.setdefault(place, set())
            begun = set().union(*self._compiled.values())

            def rank(number: int) -> tuple[bool, bool]:
                return self._shapes[number] not in mine, self._shapes[number] in begun

            number = min(self._waiting, key=rank)
            self._waiting.remove(number)
            mine.add(self._shapes[number])
            return number
