"""Requests that wait together are answered together, and each gets its own rows back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app import systems
from cnn_app.errors import DataError
from cnn_app.serving.server.budget import Room
from cnn_app.serving.server.engines import Engine
from cnn_app.serving.server.errors import RequestError, invalid, no_answer

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays

log = logging.getLogger(__name__)
BEHIND = 5  # of nice(2): enough, and where others want the cores, too, it still gets a third of what they do
MOST = 64  # rows that run at a time: a network's memory grows with them


@dataclass(frozen=True)
class Batching:
    """A batch is run when it has `rows`, or when its oldest request has waited for `delay_s`; no rows: one by one.

    Without a delay nobody waits for an idle model; while it runs, the next batch gathers.
    """

    rows: int = 64
    delay_s: float = 0
    workers: int = 1  # threads that run batches; one leaves the cores to TensorFlow


@dataclass
class _Job:
    signature: str
    inputs: Arrays
    rows: int
    bytes: int
    due: float
    answer: asyncio.Future


class Batcher:
    """The queue in front of one version. All but `engine.run` happens on the event loop, so nothing is locked."""

    def __init__(self, engine: Engine, how: Batching, queue: int, room: Room, ran: Callable[[int, float], None]):
        self.engine, self.how, self.queue, self.room, self.ran = engine, how, queue, room, ran
        self.waiting = 0  # rows
        self.running = 0  # batches
        self._groups: dict[tuple, deque[_Job]] = {}  # by signature and shapes, the one that was first to wait first
        self._news = asyncio.Event()
        self._pool = ThreadPoolExecutor(how.workers, "model", _behind_the_loop)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(how.workers)]

    async def __call__(self, signature: str, inputs: Arrays, rows: int, sizes: Sequence[int] = ()) -> Arrays:
        """The outputs. More rows than run at a time are answered one part after the other.

        sizes: of encoded records, each in bytes once it is decoded; none is larger than the room for all.
        """
        if not self.engine.signatures[signature].batched or (rows <= MOST and sum(sizes) <= self.room.most):
            return await self._wait(signature, inputs, rows, sum(sizes))
        outputs = [
            await self._wait(signature, {name: array[part] for name, array in inputs.items()},
                             part.stop - part.start, sum(sizes[part]))
            for part in _parts(rows, sizes, self.room.most)
        ]  # fmt: skip
        return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}

    async def _wait(self, signature: str, inputs: Arrays, rows: int, size: int) -> Arrays:
        if self.waiting + rows > self.queue:
            raise RequestError(
                "UNAVAILABLE", f"{self.waiting} rows wait already, the queue holds {self.queue}; try again later"
            )
        loop = asyncio.get_running_loop()
        job = _Job(signature, inputs, rows, size, loop.time() + self.how.delay_s, loop.create_future())
        key: tuple = (signature, *(array.shape[1:] for array in inputs.values()))
        if not (self.how.rows and self.engine.signatures[signature].batched):
            key = (job.answer,)  # like no other
        self._groups.setdefault(key, deque()).append(job)
        self.waiting += rows
        self._news.set()
        return await job.answer

    async def close(self) -> None:
        """To be called when nobody waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._groups:
                self._news.clear()
                await self._news.wait()
                continue
            key, jobs = next(iter(self._groups.items()))
            left = jobs[0].due - loop.time()
            if left > 0 and isinstance(key[0], str) and sum(job.rows for job in jobs) < self.how.rows:
                self._news.clear()
                handle = loop.call_later(left, self._news.set)
                await self._news.wait()
                handle.cancel()
                continue
            batch = self._take(key)
            if batch:
                self.running += 1
                await self._answer(batch)
                self.running -= 1

    def _take(self, key: tuple) -> list[_Job]:
        """The oldest jobs of a group, as many as fit; what is left of it goes behind the other groups.

        Powers of two, for TensorFlow keeps something for every size of batch that it has seen.
        """
        jobs, rows, size = self._groups.pop(key), 0, 0
        batch: list[_Job] = []
        waiting = sum(job.rows for job in jobs)
        if self.how.delay_s == 0:  # a share for each worker that has nothing to do
            waiting = -(-waiting // (self.how.workers - self.running))
        there = min(waiting, self.how.rows)
        most = 1 << max(there.bit_length() - 1, 0)
        while jobs and (not batch or (rows + jobs[0].rows <= most and size + jobs[0].bytes <= self.room.most)):
            job = jobs.popleft()
            self.waiting -= job.rows
            if not job.answer.done():  # its client may have gone
                batch.append(job)
                rows += job.rows
                size += job.bytes
        if jobs:
            self._groups[key] = jobs
        return batch

    async def _answer(self, batch: list[_Job]) -> None:
        try:
            outputs = await self._run(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them may be at fault: the others must not suffer from it
                for job in batch:
                    await self._answer([job])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(_request_error(error))
            return
        start = 0
        for job in batch:
            whole = len(batch) == 1
            rows = outputs if whole else {name: array[start : start + job.rows] for name, array in outputs.items()}
            start += job.rows
            if not job.answer.done():
                job.answer.set_result(rows)

    async def _run(self, batch: list[_Job]) -> Arrays:
        first, rows, loop = batch[0], sum(job.rows for job in batch), asyncio.get_running_loop()
        inputs = first.inputs if len(batch) == 1 else {
            name: np.concatenate([job.inputs[name] for job in batch]) for name in first.inputs
        }  # fmt: skip
        async with self.room.of(sum(job.bytes for job in batch)):
            start = loop.time()
            outputs = await loop.run_in_executor(self._pool, self.engine.run, first.signature, inputs)
        self.ran(rows, loop.time() - start)
        if len(batch) > 1 and any(len(array) != rows for array in outputs.values()):
            raise RuntimeError(f"signature {first.signature} gave other than {rows} rows")
        return outputs


def _behind_the_loop() -> None:
    """The thread that reads requests and sends answers is not to wait until a model's turn on a core is over."""
    systems.nice(BEHIND)


def _parts(rows: int, sizes: Sequence[int], room: int) -> Iterator[slice]:
    """Of a request: at most so many rows, and bytes that there is room for."""
    start = held = 0
    for row, size in enumerate(sizes or [0] * rows):
        if row > start and (row - start == MOST or held + size > room):
            yield slice(start, row)
            start, held = row, 0
        held += size
    yield slice(start, rows)


def _request_error(error: Exception) -> RequestError:
    """What TensorFlow and the decoder refuse is the request's fault; anything else is ours."""
    import tensorflow as tf

    if isinstance(error, RequestError):
        return error
    if isinstance(error, DataError):
        return invalid(str(error))
    if isinstance(error, tf.errors.InvalidArgumentError):
        return invalid(f"the model refuses the request: {_reason(str(error.message))}")
    if isinstance(error, UnicodeDecodeError):  # TensorFlow's own message quotes the request's bytes
        return invalid("the model refuses the request: it cannot read the examples")
    log.error("a request failed", exc_info=error)
    return no_answer()


def _reason(message: str) -> str:
    """TensorFlow's, without its own headline and the names of nodes."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and "Graph execution error" not in line]
    return lines[0][:300] if lines else "no reason is given"
