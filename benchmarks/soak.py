"""Two replicas behind a balancer, and clients that see nothing of what happens to them: our client's failed requests.

python benchmarks/soak.py --minutes 10 --clients 64 --seed 0

Faults, in an order by the seed: versions added, removed and broken, the base directory gone for a while, a replica
ended by SIGTERM and started again, the requests that cost most. Every answer is compared with the truth.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from balancer import Balancer
from measure import quiet_tensorflow
from server import Server

PROCESSES = 4  # of clients; the gRPC channels of one share a connection
STORM_S, STORM_THREADS = 5, 4
PAUSE_S = (0.5, 3)  # between two faults
TOLERANCE = 1e-4


@dataclass
class Seen:
    """By clients of one API."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter = field(default_factory=Counter)  # by what the client says
    again: Counter = field(default_factory=Counter)
    wrong: int = 0

    def add(self, other: Seen) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def clients(endpoints: dict[str, str], each: int, seconds: float, seed: int) -> dict[str, Seen]:
    """In a process of its own: what `each` clients of every endpoint see, by API."""
    from cnn_app.serving import Client
    from cnn_app.serving.client import transport

    seen = {api: Seen() for api in endpoints}
    end, lock = time.monotonic() + seconds, threading.Lock()

    class Again(logging.Handler):
        def emit(self, record) -> None:
            seen[threading.current_thread().name[:4]].again[record.getMessage()] += 1

    transport.log.addHandler(Again())
    transport.log.setLevel(logging.DEBUG)

    def ask(api: str, number: int) -> None:
        random, one = np.random.default_rng([seed, number]), Seen()
        with Client(endpoints[api], timeout=30, parallel=1) as client:
            while time.monotonic() < end:
                pixels = (random.integers(0, 256, (8, 8, 3)) // random.integers(1, 9)).astype(np.uint8)
                logits = pixels.mean((0, 1)) / 64
                start = time.perf_counter()
                try:
                    found = client.transport.ask(pixels, "serving_default")["probabilities"]
                except Exception as error:  # whatever it is, a request has failed
                    one.failed[str(error)] += 1
                    continue
                one.seconds.append(time.perf_counter() - start)
                one.wrong += bool(np.abs(found - np.exp(logits) / np.exp(logits).sum()).max() > TOLERANCE)
        with lock:
            seen[api].add(one)

    threads = [threading.Thread(target=ask, args=(api, number), name=f"{api}-{number}")
               for api in endpoints for number in range(each)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


class Faults:
    """What happens to the replicas and to the store of `pixels`."""

    def __init__(self, folder: Path, balancers: dict[str, Balancer], elsewhere: ProcessPoolExecutor, seed: int):
        self.folder, self.base, self.balancers, self.elsewhere = folder, folder / "pixels", balancers, elsewhere
        self.random, self.counts, self.trouble = Random(seed), Counter(), Counter()
        self.source = shutil.copytree(self.base / "1", folder.parent / "source")
        self.replicas = [self.started(number) for number in range(2)]
        self.before = [replica.rss() >> 20 for replica in self.replicas]
        self.kinds = [self.added, self.removed, self.broken, self.base_gone, self.restarted, self.stormed]

    def started(self, number: int) -> Server:
        found = Server(self.folder, "--poll", 0.5)
        for api, balancer in self.balancers.items():
            balancer.replicas[number] = getattr(found, api)
        return found

    def run(self, end: float) -> None:
        """Every kind once, in another order each time, until it is `end`."""
        while True:
            for fault in self.random.sample(self.kinds, len(self.kinds)):
                time.sleep(self.random.uniform(*PAUSE_S))
                if time.monotonic() > end:
                    return
                fault()
                self.counts[fault.__name__.replace("_", " ")] += 1

    def added(self) -> None:
        from cnn_app.serving import store

        store.publish(self.source, self.base)

    def removed(self) -> None:
        """The highest: the one below it answers again."""
        there = self.versions()
        if len(there) > 1:
            self.base.joinpath(str(there[-1])).rename(self.base / ".gone")
            shutil.rmtree(self.base / ".gone")

    def broken(self) -> None:
        path = self.base / ".broken"
        shutil.copytree(self.source, path)
        size = path.joinpath("saved_model.pb").stat().st_size
        path.joinpath("saved_model.pb").write_bytes(self.random.randbytes(size))
        path.rename(self.base / str(self.versions()[-1] + 1))

    def base_gone(self) -> None:
        self.base.rename(self.folder.parent / "away")
        time.sleep(2)
        (self.folder.parent / "away").rename(self.base)

    def restarted(self) -> None:
        number = self.counts["restarted"] % 2
        self.end(self.replicas[number])
        self.added()  # a server does not start with a broken version alone
        self.replicas[number] = self.started(number)
        self.before[number] = self.replicas[number].rss() >> 20

    def end(self, replica: Server) -> None:
        status = replica.end()
        self.trouble["exit statuses"] += status != 0
        self.trouble["tracebacks"] += replica.log().count("Traceback")
        if status or "Traceback" in replica.log():
            print(status, replica.log()[-3000:], file=sys.stderr)

    def stormed(self) -> None:
        import attacker

        replica = self.replicas[self.random.randrange(2)]
        kinds = self.elsewhere.submit(
            attacker.storm, {"rest": replica.rest, "grpc": replica.grpc}, STORM_S, STORM_THREADS
        ).result()
        for kind, count in kinds.items():
            if kind not in ("ok", "refused", "busy"):
                self.trouble["wrong answers to an attacker"] += count
                print(f"an attacker: {kind}", file=sys.stderr)

    def versions(self) -> list[int]:
        from cnn_app.serving import store

        return store.versions(self.base)


def soak(folder: Path, minutes: float, count: int, seed: int) -> dict[str, str]:
    """The figures, by what they are."""
    spawned = multiprocessing.get_context("spawn")
    with (
        Balancer(["", ""]) as rest,
        Balancer(["", ""]) as grpc,
        ProcessPoolExecutor(PROCESSES, spawned) as asking,
        ProcessPoolExecutor(1, spawned) as elsewhere,
    ):
        faults = Faults(folder, {"rest": rest, "grpc": grpc}, elsewhere, seed)
        endpoints = {"rest": f"http://{rest.address}/pixels", "grpc": f"grpc://{grpc.address}/pixels"}
        each, seconds = max(count // PROCESSES // 2, 1), minutes * 60
        jobs = [asking.submit(clients, endpoints, each, seconds, [seed, number]) for number in range(PROCESSES)]
        faults.run(time.monotonic() + seconds)
        seen = {api: Seen() for api in endpoints}
        for job in jobs:
            for api, found in job.result().items():
                seen[api].add(found)
        after = [replica.rss() >> 20 for replica in faults.replicas]
        for replica in faults.replicas:
            faults.end(replica)
    figures = {}
    for api, found in seen.items():
        for what in (found.failed, found.again):
            for message, times in what.most_common(5):
                print(f"{api}: {times} times {message}", file=sys.stderr)
        p50, p99 = np.percentile(found.seconds, [50, 99]) * 1e3
        figures |= {f"{api}, requests": f"{len(found.seconds) + found.failed.total():,}",
                    f"{api}, failed": f"{found.failed.total():,}", f"{api}, wrong": f"{found.wrong}",
                    f"{api}, asked again": f"{found.again.total():,}",
                    f"{api}, ms": f"p50 {p50:.0f}, p99 {p99:.0f}, longest {max(found.seconds) * 1e3:.0f}"}  # fmt: skip
    figures |= {f"faults: {kind}": str(times) for kind, times in sorted(faults.counts.items())}
    figures |= {f"servers: {kind}": str(times) for kind, times in sorted(faults.trouble.items())}
    for number, sizes in enumerate(zip(faults.before, after, strict=True), 1):
        figures[f"replica {number}, MiB since its last start"] = "{} to {}".format(*sizes)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    quiet_tensorflow()
    import toys

    with tempfile.TemporaryDirectory() as name:
        figures = soak(toys.store(Path(name, "store")), given.minutes, given.clients, given.seed)
    print("| figure | |\n|---|---:|")
    for what, value in figures.items():
        print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
