"""Requests that nobody would write, by the thousand: right ones, nearly right ones and wrong ones, the same for a seed.

python benchmarks/fuzz_requests.py --inputs 200000 --seed 0 --api rest
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

from measure import quiet_tensorflow

THREADS = 4
SHOWN = 20  # requests with a wrong answer that are told
KINDS = {"ok": "2xx", "refused": "4xx", "busy": "429/503", "other": "others", "hang": "hangs over 10 s"}


class Fuzz:
    """A server that is started again when it is gone, and what it has answered."""

    def __init__(self, folder: Path, api: str, inputs: int, seed: int):
        self.folder, self.api, self.inputs, self.seed = folder, api, inputs, seed
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.server = self.started()

    def started(self):
        from server import Server

        return Server(self.folder)

    def run(self) -> None:
        threads = [threading.Thread(target=self.thread, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.end()

    def thread(self, number: int) -> None:
        """Has a source of choices of its own, so that its requests are the same each time."""
        from attacker import APIS

        random = Random(self.seed * THREADS + number)
        server, attacker = None, None
        for _ in range(number, self.inputs, THREADS):
            if server is not self.server or attacker is None:
                server = self.server
                attacker = APIS[self.api](getattr(server, self.api))
            found = attacker(random)
            with self.lock:
                self.counts[found.kind] += 1
                if found.wrong and self.counts["told"] < SHOWN:
                    self.counts["told"] += 1
                    print(found.wrong, *(repr(part)[:300] for part in found.asked), file=sys.stderr)
                if not self.server.alive():
                    self.end()
                    self.counts["restarts"] += 1
                    self.server = self.started()

    def end(self) -> None:
        self.counts["tracebacks"] += self.server.log().count("Traceback")
        print(self.server.log()[-2000:], file=sys.stderr)
        self.server.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--api", choices=["rest", "grpc"], action="append")
    given = parser.parse_args()
    quiet_tensorflow()
    import toys

    columns = ["inputs", "seconds", *KINDS.values(), "tracebacks in the log", "restarts"]
    print(f"| API | {' | '.join(columns)} |\n|---{'|---:' * len(columns)}|")
    with tempfile.TemporaryDirectory() as folder:
        toys.store(Path(folder))
        for api in given.api or ["rest", "grpc"]:
            fuzz, start = Fuzz(Path(folder), api, given.inputs, given.seed), time.monotonic()
            fuzz.run()
            cells = [given.inputs, round(time.monotonic() - start), *(fuzz.counts[kind] for kind in KINDS),
                     fuzz.counts["tracebacks"], fuzz.counts["restarts"]]  # fmt: skip
            print(f"| {api} | {' | '.join(f'{cell:,}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
