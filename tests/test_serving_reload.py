"""Versions come and go under load without a failed request, broken ones are told of, and a killed server is missed."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import served
import urllib3

from cnn_app.errors import ServingError
from cnn_app.serving import Client

URL = "/v1/models/colours"


@contextmanager
def load(rest, clients=6):
    """Clients that ask without a pause; gives a function that waits for an answer of a version."""
    seen, failed, news, end = set(), [], threading.Condition(), threading.Event()

    def ask(number):
        pixels = served.pixels(number, 2)
        body, truth = json.dumps({"instances": pixels.tolist()}), served.probabilities(pixels)
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            while not end.is_set():
                status, found = served.asked(http, "POST", f"{rest}{URL}:predict", body)
                with news:
                    if status != 200:
                        failed.append(found)
                    elif not np.allclose([row["probabilities"] for row in found["predictions"]], truth, rtol=1e-4):
                        failed.append("an answer to another image")
                    else:
                        seen.update(row["version"] for row in found["predictions"])
                    news.notify_all()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()

    def until(version):
        with news:
            assert news.wait_for(lambda: version in seen or failed, 60) and not failed, failed
            seen.clear()

    try:
        yield until
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert not failed, failed[:3]


def states(http, rest):
    rows = served.asked(http, "GET", rest + URL)[1]["model_version_status"]
    return {int(row["version"]): row["state"] for row in rows}


@pytest.mark.slow
def test_versions_come_and_go_under_load(tmp_path):
    base = served.model_dir(tmp_path / "colours", 1) / "serving"
    with served.running(base) as found, load(found.rest) as until, urllib3.PoolManager() as http:
        until(1)
        served.publish(base, 2)
        until(2)
        served.publish(base, 10)  # numbers, not words
        shutil.rmtree(base / "1")
        until(10)
        (base / "labels.json").write_text('{"stable": 2}')  # a label brings a version back
        while states(http, found.rest).get(2) != "AVAILABLE":
            pass
        assert served.asked(http, "GET", f"{found.rest}{URL}/labels/stable")[0] == 200
        shutil.rmtree(base / "10")  # rolled back
        until(2)
        while states(http, found.rest).get(10) == "AVAILABLE":
            pass
        assert served.asked(http, "POST", f"{found.rest}{URL}/versions/10:predict", "{}")[0] == 404


@pytest.mark.slow
def test_a_broken_version_is_told_of_and_harms_nobody(tmp_path):
    base = served.model_dir(tmp_path / "colours", 1) / "serving"
    with served.running(base) as found, urllib3.PoolManager() as http:
        (base / "writing").mkdir()
        (base / "writing" / "saved_model.pb").write_bytes(b"no model")
        (base / "writing").rename(base / "2")
        while states(http, found.rest).get(2) != "END":
            pass
        broken = served.asked(http, "GET", f"{found.rest}{URL}/versions/2")[1]["model_version_status"][0]
        assert broken["status"]["error_code"] == "UNKNOWN" and "is damaged" in broken["status"]["error_message"]
        with load(found.rest) as until:
            until(1)
            served.publish(tmp_path / "elsewhere", 2)
            shutil.copytree(tmp_path / "elsewhere" / "2", base / "2", dirs_exist_ok=True)  # the copy was not complete
            until(2)
    (tmp_path / "empty" / "serving" / "1").mkdir(parents=True)
    (tmp_path / "empty" / "serving" / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ServingError, match="empty cannot be served: .* is damaged"):
        with served.running(tmp_path / "empty"):
            raise AssertionError("it serves nothing")


class Process:
    """`cnn-app serve` in a process of its own."""

    def __init__(self, *arguments):
        code = "from cnn_app.cli.main import cli; cli()"
        command = [sys.executable, "-c", code, "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = [self.process.stdout.readline().strip() for _ in range(2)]
        self.rest = self.lines[0].split(": ")[1].partition("/v1")[0] if self.lines[0] else None

    def end(self, number):
        self.process.send_signal(number)
        printed = self.process.communicate(timeout=60)
        return self.process.returncode, *printed


@pytest.mark.slow
def test_a_killed_server_is_missed_and_comes_back(tmp_path):
    path = served.model_dir(tmp_path / "colours", 1)
    image = served.png(served.one_colour("red"))
    first = Process(path, "--port", 0, "--grpc-port", 0)
    grpc = first.lines[1].split("gRPC at ")[1]
    clients = [Client(f"{address}/colours", timeout=5) for address in (first.rest, grpc)]
    for client in clients:
        assert client.predict([image])[0].labels[0] == "red"
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    for client in clients:
        with pytest.raises(ServingError, match="cannot reach|UNAVAILABLE"):
            client.predict([image])
    again = Process(path, "--port", first.rest.rpartition(":")[2], "--grpc-port", grpc.rpartition(":")[2])
    for client in clients:
        assert client.predict([image])[0].labels[0] == "red"
        client.close()
    code, _, log = again.end(signal.SIGTERM)
    assert code == 0 and "Traceback" not in log


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_finishes_what_runs(tmp_path):
    path = served.model_dir(tmp_path / "colours", 1)
    server = Process(path, "--port", 0, "--grpc-port", -1, "--batch-delay", 1500)
    answers = []

    def ask():
        with Client(f"{server.rest}/colours") as client:
            answers.extend(client.predict([served.one_colour("blue")]))

    thread = threading.Thread(target=ask)
    thread.start()
    with urllib3.PoolManager() as http:
        while (
            b"cnn_app_running_requests 1.0"
            not in http.request("GET", f"{server.rest}/monitoring/prometheus/metrics").data
        ):
            pass
    code, _, log = server.end(signal.SIGINT)
    thread.join()
    assert code == 0 and "Traceback" not in log
    assert answers[0].probabilities.argmax() == 2
