"""A TCP balancer in front of replicas: each connection goes to the next one that accepts it, and stays with it."""

from __future__ import annotations

import asyncio
import itertools
import threading

CHUNK = 2**16


class Balancer:
    """Runs in a thread. No byte is sent twice: who is cut off has to ask again.

    replicas: HOST:PORT, which may change while it runs.
    """

    def __init__(self, replicas: list[str]):
        self.replicas, self.turns = replicas, itertools.count()
        self.address, self.opened, self.loop = "", threading.Event(), asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        self.end, self.running = asyncio.Event(), set()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        self.opened.set()
        await self.end.wait()
        server.close()
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        await asyncio.sleep(0)  # in which what was closed lets go of its sockets

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.running.add(task)
        ends = [writer]
        try:
            if there := await self._connected():
                ends.append(there[1])
                asking = asyncio.create_task(_carried(reader, there[1]))
                await _carried(there[0], writer)  # the replica ends it, or both do
                asking.cancel()
        except asyncio.CancelledError:  # the balancer goes
            pass
        finally:
            for end in ends:
                end.close()
            self.running.discard(task)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        start = next(self.turns)
        for number in range(len(self.replicas)):
            host, _, port = self.replicas[(start + number) % len(self.replicas)].rpartition(":")
            try:
                return await asyncio.open_connection(host, int(port))
            except OSError:
                continue
        return None

    def __enter__(self) -> Balancer:
        self.thread.start()
        self.opened.wait()
        return self

    def __exit__(self, *error) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()
        self.loop.close()


async def _carried(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends, of which the other is told."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:  # a reset goes on as one
        writer.transport.abort()
