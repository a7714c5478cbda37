"""What a server takes, and how long others wait, while 20 clients send the requests of `worst.py`.

python benchmarks/storm.py --seconds 20 --clients 20
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attacker
import numpy as np
from server import Server

PAUSE_S = 0.01  # between two looks, which are not to be the load
ROW = ["API", "ok", "refused", "busy", "other", "MiB before", "at most more", "more afterwards", "healthz p50 ms",
       "p99 ms", "longest ms"]  # fmt: skip


def row(store: Path, apis: tuple[str, ...], clients: int, seconds: float) -> list[str]:
    """Of a server of its own."""
    waits = []
    with Server(store) as server, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        connection = http.client.HTTPConnection(server.rest, timeout=60)
        before = server.rss()
        server.forget_peak()
        storm = elsewhere.submit(attacker.storm, {api: getattr(server, api) for api in apis}, seconds, clients)
        while not storm.done():
            start = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            waits.append((time.perf_counter() - start) * 1e3)
            time.sleep(PAUSE_S)
        connection.close()
        more, afterwards = server.peak() - before, server.rss() - before
    kinds = storm.result()
    counts = [kinds.pop(kind, 0) for kind in ("ok", "refused", "busy")]
    p50, p99 = np.percentile(waits, [50, 99])
    cells = [" and ".join(apis), *counts, sum(kinds.values()), before >> 20, more >> 20, afterwards >> 20]
    return [*map(str, cells), f"{p50:.0f}", f"{p99:.0f}", f"{max(waits):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=20)
    options = parser.parse_args()
    from toys import store

    with tempfile.TemporaryDirectory() as folder:
        base = store(Path(folder) / "store")
        print(f"| {' | '.join(ROW)} |\n|---|{'---:|' * (len(ROW) - 1)}")
        for apis in (("rest",), ("grpc",), ("rest", "grpc")):
            print(f"| {' | '.join(row(base, apis, options.clients, options.seconds))} |", flush=True)


if __name__ == "__main__":
    main()
