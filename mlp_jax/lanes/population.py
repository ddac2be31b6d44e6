"""Many lanes. On a CPU every device takes the next one from a queue, so that a lane is exactly a single run.

On an accelerator lanes train side by side, a chunk divided over all devices: nets of many shapes in one program
(`lanes.mixed`), or nets of one.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mlp_jax.augment import DistortionNumbers
from mlp_jax.data.arrays import Dataset
from mlp_jax.hparams import Static, split_config, static_of
from mlp_jax.lanes import mixed
from mlp_jax.lanes.compile import Compiler, chunk_size
from mlp_jax.lanes.fit import (
    Chunk,
    MixedChunk,
    NotFinite,
    Progress,
    Record,
    fit,
    fit_side_by_side,
    make_task,
    place_dataset,
    place_lane,
    stops_early,
)
from mlp_jax.lanes.placement import Placement, divides_lanes, over_lanes, placements
from mlp_jax.training import Data, Lane

Watch = Callable[[Record], None]


class Member(NamedTuple):
    """One lane of a population and how far it is; `lane` is on the host, None before the first step."""

    config: ConfigDict
    lane: Lane | None = None
    records: tuple[Record, ...] = ()
    diverged: bool = False


class Population:
    """The devices where lanes train at the same time, the data that lies there, and the programs compiled for them."""

    def __init__(
        self,
        dataset: Dataset,
        mesh: str = "",
        chunk: int = 0,
        lanes: str = "auto",
        compiler: Compiler | None = None,
    ) -> None:
        """`lanes` as in a config. `chunk` lanes train side by side on each device; 0: what the memory holds.

        A queue has chunks of one.
        """
        self.dataset, self.mesh = dataset, mesh
        self.compiler = compiler or Compiler()
        cpu = jax.devices()[0].platform == "cpu"
        able = not divides_lanes(mesh) and jax.process_count() == 1
        self.mixed = lanes == "mixed" or (lanes == "auto" and not cpu and able)
        self._all = lanes == "mixed"  # also lanes that are all of one shape
        self._chunk = chunk or int(lanes == "queue" or cpu)
        self._most = chunk  # of mixed lanes on each device
        self._forms: list[mixed.Form] = []
        self._sizes: dict[mixed.Form, int] = {}

    @cached_property
    def _places(self) -> list[tuple[Data, Placement]]:
        return [(place_dataset(self.dataset, place), place) for place in placements(self.mesh, lanes=True)]

    @cached_property
    def _whole(self) -> tuple[Data, Placement]:
        """All devices as one place, for mixed lanes."""
        devices = [device for place in placements(self.mesh, lanes=True) for device in place.whole.device_set]
        if len(devices) == 1:
            return self._places[0]
        place = over_lanes(devices)
        return place_dataset(self.dataset, place), place

    @property
    def _grounds(self) -> list[tuple[Data, Placement]]:
        """Where chunks of lanes of one shape train: on all devices together, if every lane can lie on one of them."""
        return self._places if self._chunk == 1 or divides_lanes(self.mesh) else [self._whole]

    @property
    def first_place(self) -> tuple[Data, Placement]:
        """Where a single lane would train."""
        return self._places[0]

    def train(
        self, members: Sequence[Member], until: int | None = None, watch: Watch = lambda record: None
    ) -> Iterator[tuple[int, Member]]:
        """Trains every member to epoch `until` (None: to its end); yields (index, member) as each gets there.

        `watch` is told the record of every epoch of every member, in the thread that trains it. A member whose loss is
        not finite comes back with `diverged` set and stops nobody else. Closing the iterator stops the others at the
        end of the call of the program they are in.
        """
        ended = {index for index, member in enumerate(members) if _is_over(member, until)}
        yield from ((index, members[index]) for index in ended)
        statics = {index: self.static(member.config) for index, member in enumerate(members) if index not in ended}
        several = self._all or len({static.trained for static in statics.values()}) > 1
        mixes = {index for index in statics if self.mixed and several and not mixed.unmixable(statics[index])}
        together = {index: members[index] for index in statics if index in mixes}
        if together:
            yield from _run([lambda stop: self._train_mixed(together, until, stop, watch)], len(together))
        rest = [index for index in statics if index not in mixes]
        if rest:
            chunks = self._chunks(members, rest)
            work = _Work([static.trained for static, _ in chunks])
            shared = len({members[index].config.seed for index in rest}) == 1
            train = self._train_one if self._chunk == 1 else partial(self._train_side_by_side, shared)

            def turns(place: int, stop: threading.Event) -> Iterator[tuple[int, Member]]:
                while not stop.is_set() and (number := work.take(place)) is not None:
                    yield from train(chunks[number][1], place, until, stop, watch)

            yield from _run([partial(turns, place) for place in range(len(self._grounds))], len(rest))

    def static(self, config: ConfigDict) -> Static:
        """The half of a config that is compiled in, for this data."""
        data = self.dataset
        counts = data.train_images.shape[1], len(data.class_names), len(data.train_labels)
        weighted = bool(config.class_weight or len(data.sample_weight))
        return static_of(config, *counts, data.image_shape, weighted)

    def _train_mixed(
        self, members: dict[int, Member], until: int | None, stop: threading.Event, watch: Watch
    ) -> Iterator[tuple[int, Member]]:
        """Chunk after chunk, the fullest first; a chunk that others can fill up is given up when half of it is over."""
        statics = {index: self.static(member.config) for index, member in members.items()}
        forms = self._form_of_each(statics)
        members = dict(members)
        waiting: dict[Any, list[int]] = {}
        for index, member in members.items():
            waiting.setdefault((forms[index], _minibatch(member.config), len(member.records)), []).append(index)
        for (form, *_), indices in waiting.items():
            if form not in self._sizes:
                self._sizes[form] = self._size_of(form, len(indices))
        while waiting and not stop.is_set():
            key = min(waiting, key=lambda key: (len(waiting[key]) < self._sizes[key[0]], key[2], -len(waiting[key])))
            form, batch, _ = key
            size = self._sizes[form]
            waiting[key].sort(key=lambda index: (members[index].config.num_epochs, index))
            indices, left = waiting[key][:size], waiting.pop(key)[size:]
            if left:
                waiting[key] = left

            def leave(lanes: int, epoch: int, form: Any = form, batch: Any = batch, size: int = size) -> bool:
                return 2 * lanes <= size and any(other[:2] == (form, batch) and other[2] <= epoch for other in waiting)

            for step in self._train_chunk(form, [members[index] for index in indices], until, stop, leave):
                index = indices[step.number]
                old = members[index]
                watch(step.record)
                member = old._replace(records=(*old.records, step.record), lane=step.lane, diverged=step.diverged)
                members[index] = member
                if step.lane is not None and step.over:
                    members[index] = member._replace(lane=None)  # its memory is the taker's
                    yield index, member
                elif step.lane is not None:
                    waiting.setdefault((form, batch, len(member.records)), []).append(index)

    def _train_chunk(
        self,
        form: mixed.Form,
        members: list[Member],
        until: int | None,
        stop: threading.Event,
        leave: Callable[[int, int], bool],
    ) -> Iterator[Progress]:
        first = make_task(members[0].config, self.dataset, *self._whole)
        counts = self.dataset.train_images.shape[1], len(self.dataset.class_names), len(first.train_indices)
        halves = [split_config(member.config, *counts, self.dataset.image_shape) for member in members]
        exact = form._replace(static=form.static._replace(batch_size=first.static.batch_size))
        chunk = MixedChunk(first, exact, [member.config for member in members], halves, self._sizes[form])
        lanes = [member.lane for member in members if member.lane is not None]
        return fit_side_by_side(chunk, self.compiler.mixed(chunk), lanes, until, stop.is_set, leave)

    def _form_of_each(self, statics: dict[int, Static]) -> dict[int, mixed.Form]:
        """The smallest known program that holds a net, after the programs that hold all the others are known too."""

        def holding(static: Static) -> list[mixed.Form]:
            return sorted((form for form in self._forms if form.holds(static)), key=lambda form: form.static.sizes)

        kinds: dict[Static, list[Static]] = {}
        for static in statics.values():
            if not holding(static):
                kinds.setdefault(mixed.kind(static), []).append(static)
        for same in kinds.values():
            self._forms += mixed.forms_of(same)
        found = {static: holding(static)[0] for static in set(statics.values())}
        return {index: found[static] for index, static in statics.items()}

    def _size_of(self, form: mixed.Form, lanes: int) -> int:
        """Lanes of a chunk on all devices: as many as there are, in equal chunks where the memory holds fewer."""
        devices = len(self._whole[1].whole.device_set)
        most = devices * (self._most or chunk_size(form.static, jax.local_devices()[0], devices))
        each = -(-lanes // -(-lanes // most))
        return -(-each // devices) * devices

    def _chunks(self, members: Sequence[Member], chosen: Sequence[int]) -> list[tuple[Static, dict[int, Member]]]:
        """The chosen members of one shape that are equally far, in chunks, by their indices."""
        groups: dict[tuple[Static, int], list[int]] = {}
        for index in chosen:
            groups.setdefault((self.static(members[index].config), len(members[index].records)), []).append(index)
        return [
            (static, {index: members[index] for index in indices[start : start + size]})
            for (static, _), indices in groups.items()
            for size in [self._size(static)]
            for start in range(0, len(indices), size)
        ]

    def _size(self, static: Static) -> int:
        """Lanes of a chunk of one shape."""
        devices = len(self._places) // len(self._grounds)
        return devices * (self._chunk or chunk_size(static, jax.local_devices()[0], len(self._places)))

    def _train_one(
        self, chunk: dict[int, Member], place: int, until: int | None, stop: threading.Event, watch: Watch
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
                    watch(event.record)
                if stop.is_set() or len(records) >= last:
                    break
            yield index, member._replace(lane=jax.device_get(lane), records=tuple(records))
        except NotFinite as bad:
            watch(bad.record)
            yield index, member._replace(records=(*records, bad.record), diverged=True)

    def _train_side_by_side(
        self,
        shared: bool,
        chunk: dict[int, Member],
        place: int,
        until: int | None,
        stop: threading.Event,
        watch: Watch,
    ) -> Iterator[tuple[int, Member]]:
        indices, members = list(chunk), list(chunk.values())
        tasks = [make_task(member.config, self.dataset, *self._grounds[place]) for member in members]
        lanes = Chunk(tasks, self._size(tasks[0].static), shared)
        states = [member.lane for member in members if member.lane is not None]
        records = [list(member.records) for member in members]
        program = self.compiler.side_by_side(lanes)
        for step in fit_side_by_side(lanes, program, states, until, stop.is_set):
            number = step.number
            records[number].append(step.record)
            watch(step.record)
            if step.lane is not None:
                ended = members[number]._replace(lane=step.lane, records=tuple(records[number]))
                yield indices[number], ended._replace(diverged=step.diverged)
            if stop.is_set():
                return


def _is_over(member: Member, until: int | None) -> bool:
    """Whether a member has got there already."""
    config, epochs = member.config, len(member.records)
    early = member.lane is not None and stops_early(config, epochs, int(member.lane.best.epoch))
    return member.diverged or early or epochs >= min(until or config.num_epochs, config.num_epochs)


def _minibatch(config: ConfigDict) -> tuple[Any, ...]:
    """What lanes that share their minibatches have in common, beside the form: all that decides its rows and pixels."""
    drawn = (f"augment_{name}" for name in DistortionNumbers._fields)
    return tuple(config[name] for name in ("seed", "val_fraction", "stratified", "mixup_alpha", *drawn))


def _run(
    workers: Sequence[Callable[[threading.Event], Iterator[tuple[int, Member]]]], count: int
) -> Iterator[tuple[int, Member]]:
    """The `count` members that come out of workers, each in a thread of its own, as they come."""
    done: queue.Queue[tuple[int, Member] | BaseException] = queue.Queue()
    stop = threading.Event()
    wide = jax.config.values["jax_enable_x64"]  # of this thread; a new one has the process's setting

    def run(worker: Callable[[threading.Event], Iterator[tuple[int, Member]]]) -> None:
        try:
            with jax.enable_x64(wide):
                for ended in worker(stop):
                    done.put(ended)
        except BaseException as error:
            done.put(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count):
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


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
