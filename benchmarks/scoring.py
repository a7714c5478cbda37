"""Images a second of `predict --data`, against what decoding and the runtime give alone, in turns.

JPEGs of 500x375 are drawn into a temporary folder. The runtime alone gets batches of pixels in memory, decoding alone
throws its pixels away; end to end both share the machine's cores, so the limit is that of their times together.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import input_pipeline
import numpy as np

from cnn_app.cli.view import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()

    from cnn_app.jobs.opened import opened_as
    from cnn_app.jobs.score import BATCH, score

    runtime, task = opened_as(given.artifact)
    decode = task.input.decoder()
    rates: dict[str, list[float]] = {"decoding alone": [], "runtime alone": [], "end to end": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        input_pipeline.draw(folder, given.images)
        files = sorted(folder.rglob("*.jpg"))
        some = [decode(file.read_bytes()) for file in files[:BATCH]]
        arrays = {name: np.stack([one[name] for one in some]) for name in some[0]}
        for _ in range(given.turns):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                start = time.perf_counter()
                for _ in pool.map(lambda file: decode(file.read_bytes()), files):
                    pass
                rates["decoding alone"].append(len(files) / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(0, len(files), BATCH):
                runtime.run(arrays)
            rates["runtime alone"].append(-(-len(files) // BATCH) * BATCH / (time.perf_counter() - start))
            found = score(runtime, task, str(folder), Path(place, "answers.csv"))
            rates["end to end"].append(found.per_second)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    together = 1 / (1 / medians["decoding alone"] + 1 / medians["runtime alone"])
    least = min(medians["decoding alone"], medians["runtime alone"])
    rows = [(name, f"{rate:,.0f}", f"{rate / least:.2f}", f"{rate / together:.2f}") for name, rate in medians.items()]
    table(["", ">images/s", ">of the slower", ">of both in turns"], rows, f"{given.images} images, {given.artifact}")


if __name__ == "__main__":
    main()
