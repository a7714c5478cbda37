"""Who waits together, who gets which rows, and what a full queue or a bad neighbour does."""

import asyncio
import threading

import numpy as np
import pytest

from cnn_app.errors import DataError
from cnn_app.serving.server.batching import Batcher, Batching
from cnn_app.serving.server.budget import Room
from cnn_app.serving.server.errors import RequestError
from cnn_app.serving.server.signatures import Signature
from cnn_app.tensors import Spec

SPEC = Spec("int64", (None, None))


class Doubling:
    """2 x, in runs that can be held up; 13 is refused, and 14 is a bug."""

    kind = "test"
    signatures = {"double": Signature("double", {"x": SPEC}, {"y": SPEC}),
                  "alone": Signature("alone", {"x": Spec("int64", None)}, {"y": Spec("int64", None)})}  # fmt: skip

    def __init__(self):
        self.runs, self.may_run = [], threading.Event()
        self.may_run.set()

    def run(self, signature, inputs):
        self.runs.append(len(inputs["x"]))
        assert self.may_run.wait(30)
        if 13 in inputs["x"]:
            raise DataError("thirteen")
        if 14 in inputs["x"]:
            raise ZeroDivisionError
        return {"y": 2 * inputs["x"]}

    def close(self): ...


def serve(what, how=None, queue=1000, room=100):
    """Run the coroutine function `what(batcher, engine)` and close the batcher."""

    async def main():
        engine = Doubling()
        batcher = Batcher(engine, how or Batching(rows=8, delay_s=0.005), queue, Room(room), lambda rows, seconds: None)
        try:
            return await what(batcher, engine)
        finally:
            engine.may_run.set()
            await batcher.close()

    return asyncio.run(main())


def rows(*values, width=1):
    return {"x": np.array([[value] * width for value in values])}


def test_everybody_gets_the_own_rows():
    async def many(batcher, engine):
        asked = [rows(*range(i, i + 1 + i % 3), width=1 + i % 2) for i in range(100, 200)]
        answers = await asyncio.gather(*(batcher("double", inputs, len(inputs["x"])) for inputs in asked))
        for inputs, answer in zip(asked, answers, strict=True):
            np.testing.assert_array_equal(answer["y"], 2 * inputs["x"])
        assert sum(engine.runs) == sum(len(inputs["x"]) for inputs in asked) and max(engine.runs) <= 8
        assert len(engine.runs) < 50 and batcher.waiting == 0

    serve(many)


def test_a_full_batch_does_not_wait_and_a_large_request_is_run_as_it_is():
    async def full(batcher, engine):
        await asyncio.gather(*(batcher("double", rows(i), 1) for i in range(8)))
        await batcher("double", rows(*range(20, 40)), 20)
        assert engine.runs == [8, 20]

    serve(full, Batching(rows=8, delay_s=60))


def test_what_cannot_be_put_together_is_not():
    async def alone(batcher, engine):
        await asyncio.gather(*(batcher("alone", rows(i), 1) for i in range(5)))
        assert engine.runs == [1] * 5

    serve(alone, Batching(rows=8, delay_s=60))
    serve(alone, Batching(rows=0, delay_s=0, workers=2))


@pytest.mark.parametrize(("bad", "code", "message"), [
    (13, "INVALID_ARGUMENT", "thirteen"), (14, "INTERNAL", "the server failed on this request"),
])  # fmt: skip
def test_one_that_fails_does_not_harm_those_beside_it(bad, code, message):
    async def neighbours(batcher, engine):
        asked = (batcher("double", rows(value), 1) for value in (1, bad, 3))
        first, second, third = await asyncio.gather(*asked, return_exceptions=True)
        assert first["y"] == 2 and third["y"] == 6
        assert isinstance(second, RequestError) and second.code == code and message in str(second)

    serve(neighbours)


def test_a_full_queue_refuses_and_recovers():
    async def busy(batcher, engine):
        engine.may_run.clear()
        running = asyncio.ensure_future(batcher("double", rows(1), 1))
        while not engine.runs:
            await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(batcher("double", rows(i), 1)) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="4 rows wait already, the queue holds 4; try again later") as refused:
            await batcher("double", rows(9), 1)
        assert refused.value.http_status == 503
        waiting[0].cancel()  # a client that goes away is not computed for
        engine.may_run.set()
        assert [int(answer["y"][0, 0]) for answer in await asyncio.gather(running, *waiting[1:])] == [2, 2, 4, 6]
        assert engine.runs == [1, 3] and (await batcher("double", rows(9), 1))["y"] == 18

    serve(busy, queue=4)


def test_what_is_decoded_at_a_time_fits_its_room():
    """Of a request, of requests that run together, and of two models."""

    async def sizes(batcher, engine):
        answer = await batcher("double", rows(*range(6)), 6, [60, 40, 1, 99, 100, 5])
        assert engine.runs == [2, 2, 1, 1]
        np.testing.assert_array_equal(answer["y"], 2 * rows(*range(6))["x"])
        await asyncio.gather(*(batcher("double", rows(i), 1, [40]) for i in range(4)))
        assert engine.runs[4:] == [2, 2]
        other = Batcher(engine, Batching(), 1000, batcher.room, lambda rows, seconds: None)
        engine.may_run.clear()
        asked = [asyncio.ensure_future(one("double", rows(1), 1, [60])) for one in (batcher, other)]
        while len(engine.runs) < 7:
            await asyncio.sleep(0)
        small = asyncio.ensure_future(other("double", rows(1), 1))
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(engine.runs) == 7
        engine.may_run.set()
        await asyncio.gather(*asked, small)
        assert len(engine.runs) == 9 and batcher.room.used == 0
        await other.close()

    serve(sizes, Batching())


def test_workers_that_have_nothing_to_do_share_what_waits():
    async def shared(batcher, engine):
        engine.may_run.clear()
        asked = [asyncio.ensure_future(batcher("double", rows(i), 1)) for i in range(8)]
        while len(engine.runs) < 2:
            await asyncio.sleep(0)
        assert engine.runs == [4, 4]
        asked += [asyncio.ensure_future(batcher("double", rows(i), 1)) for i in range(4)]
        engine.may_run.set()
        for place, answer in enumerate(await asyncio.gather(*asked)):
            assert answer["y"] == 2 * (place % 8)
        assert batcher.running == 0

    serve(shared, Batching(workers=2))
