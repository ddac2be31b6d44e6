"""Many lanes. On a CPU every device takes the next one from a queue, so that a lane is exactly a single run.

On an accelerator every device takes the next chunk of lanes of one shape, which train side by side.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from mlp_jax.data.datasets import Dataset
from mlp_jax.hparams import Static, split_config
from mlp_jax.lanes.abreast import chunk_size, compile_abreast, fit_abreast
from mlp_jax.lanes.fit import Compiler, NotFinite, Record, fit, make_task, place_data, place_lane
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

    def __init__(self, dataset: Dataset, mesh: str = "", chunk: int = 0) -> None:
        """`chunk` lanes train side by side at each place; 0: one on a CPU, what the memory holds elsewhere."""
        self.dataset = dataset
        self.compiler = Compiler()
        self._chunk = chunk
        self._abreast = chunk > 1 or (not chunk and jax.devices()[0].platform != "cpu")
        self._places: list[tuple[Placement, Data]] = [
            (place, place_data(dataset.train_images, dataset.train_labels, dataset.scale, place))
            for place in placements(mesh, lanes=True)
        ]

    @property
    def first_place(self) -> tuple[Data, Placement]:
        """Where a single lane would train."""
        placement, data = self._places[0]
        return data, placement

    def train(self, members: Sequence[Member], until: int | None = None) -> Iterator[tuple[int, Member]]:
        """Trains every member to epoch `until` (None: to its end); yields (index, member) as each gets there.

        A member whose loss is not finite comes back with `diverged` set and stops nobody else. Closing the iterator
        stops the others at the end of the call of the program they are in.
        """
        units = (
            self._chunks(members) if self._abreast else [(self._shape(m.config), [i]) for i, m in enumerate(members)]
        )
        work = _Work([shape.trained for shape, _ in units])
        done: queue.Queue[tuple[int, Member] | BaseException] = queue.Queue()
        stop = threading.Event()
        advance = self._advance_chunk if self._abreast else self._advance

        def run(place: int) -> None:
            while not stop.is_set() and (number := work.take(place)) is not None:
                try:
                    for ended in advance(members, units[number][1], place, until, stop):
                        done.put(ended)
                except BaseException as error:
                    done.put(error)
                    return

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

    def _shape(self, config: ConfigDict) -> Static:
        data = self.dataset
        return split_config(config, data.train_images.shape[1], len(data.class_names), len(data.train_labels))[0]

    def _chunks(self, members: Sequence[Member]) -> list[tuple[Static, list[int]]]:
        """Members of one shape that are equally far, in chunks."""
        groups: dict[tuple[Static, int], list[int]] = {}
        for index, member in enumerate(members):
            groups.setdefault((self._shape(member.config), len(member.records)), []).append(index)
        return [
            (static, indices[start : start + size])
            for (static, _), indices in groups.items()
            for size in [self._size(static)]
            for start in range(0, len(indices), size)
        ]

    def _size(self, static: Static) -> int:
        return self._chunk or chunk_size(static, jax.local_devices()[0], len(self._places))

    def _advance(
        self, members: Sequence[Member], indices: list[int], place: int, until: int | None, stop: threading.Event
    ) -> Iterable[tuple[int, Member]]:
        (index,) = indices
        return [(index, self._advance_one(members[index], place, until, stop))]

    def _advance_one(self, member: Member, place: int, until: int | None, stop: threading.Event) -> Member:
        placement, data = self._places[place]
        task = make_task(member.config, self.dataset, data, placement)
        lane = None if member.lane is None else place_lane(member.lane, placement)
        last = until or member.config.num_epochs
        records = list(member.records)
        if records and records[-1]["epoch"] >= last:
            return member
        try:
            for event in fit(task, self.compiler(task), lane):
                lane = event.lane
                if event.record is not None:
                    records.append(event.record)
                if stop.is_set() or (event.record is not None and event.record["epoch"] >= last):
                    break
        except NotFinite as bad:
            return member._replace(records=(*records, bad.record), diverged=True)
        return member._replace(lane=jax.device_get(lane), records=tuple(records))

    def _advance_chunk(
        self, members: Sequence[Member], indices: list[int], place: int, until: int | None, stop: threading.Event
    ) -> Iterable[tuple[int, Member]]:
        placement, data = self._places[place]
        tasks = [make_task(members[index].config, self.dataset, data, placement) for index in indices]
        size, shared = self._size(tasks[0].static), len({member.config.seed for member in members}) == 1
        filled = tasks + tasks[:1] * (size - len(tasks))
        lanes = [lane for lane in (members[index].lane for index in indices) if lane is not None]
        lanes += lanes[:1] * (size - len(lanes)) if lanes else []
        program = compile_abreast(self.compiler, filled, shared)
        records = {index: list(members[index].records) for index in indices}
        for number, record, lane, diverged in fit_abreast(filled, len(tasks), program, shared, lanes, until):
            index = indices[number]
            records[index].append(record)
            if lane is not None:
                yield index, members[index]._replace(lane=lane, records=tuple(records[index]), diverged=diverged)
            if stop.is_set():
                return


class _Work:
    """The lanes that wait. A place takes one whose program it has, else one that nobody has begun, else any."""

    def __init__(self, shapes: list[Static]) -> None:
        self._shapes = shapes
        self._waiting = list(range(len(shapes)))
        self._begun: set[Static] = set()
        self._compiled: dict[int, set[Static]] = {}
        self._guard = threading.Lock()

    def take(self, place: int) -> int | None:
        """The number of the next lane for a place, None when none waits."""
        with self._guard:
            if not self._waiting:
                return None
            mine = self._compiled.setdefault(place, set())

            def rank(index: int) -> int:
                shape = self._shapes[index]
                return 0 if shape in mine else 1 if shape not in self._begun else 2

            index = min(self._waiting, key=rank)
            self._waiting.remove(index)
            mine.add(self._shapes[index])
            self._begun.add(self._shapes[index])
            return index
