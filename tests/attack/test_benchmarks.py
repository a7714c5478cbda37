"""What the benchmarks of the server stand on: cheap clients that see what they should, and the balancer."""

import json

import load
import numpy as np
import pytest
import tensorflow as tf
from balancer import Balancer
from grpc_grammar import MESSAGES
from toys import SIDE

from cnn_app.errors import ServingError
from cnn_app.serving import Client

IMAGES = np.stack([np.full((SIDE, SIDE, 3), (i, 0, 255 - i), np.uint8) for i in range(0, 256, 32)])


def truth():
    logits = IMAGES.mean((1, 2)) / 64
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def requests(api, address):
    if api == "rest":
        bodies = [json.dumps({"instances": [image.tolist()]}).encode() for image in IMAGES]
        return [load.post(body, address, "v1/models/pixels:predict") for body in bodies]
    found = []
    for image in IMAGES:
        request = MESSAGES["Predict"](model_spec={"name": "pixels"}, output_filter=["probabilities"])
        request.inputs["image"].CopyFrom(tf.make_tensor_proto(image[None]))
        found.append(load.call(request.SerializeToString(), address))
    return found


@pytest.mark.parametrize("api", ["rest", "grpc"])
def test_a_load_is_answered_and_looked_at(toy_server, api):
    address = getattr(toy_server, api).split("://")[1]
    asked = requests(api, address)
    turn = load.run(api, address, asked, truth(), 1e-5, clients=8, seconds=0.2)
    assert len(turn.seconds) >= 8 and not turn.errors and not turn.wrong and turn.busy_s >= 0.2
    turn = load.run(api, address, asked, truth()[::-1], 1e-5, clients=8, seconds=0.1)
    assert turn.wrong == len(turn.seconds)
    bad = load.post(b"{", address, "v1/models/pixels:predict") if api == "rest" else load.call(b"", address)
    turn = load.run(api, address, [bad], truth(), 1e-5, clients=2, seconds=0.1)
    assert len(turn.errors) == 2 and not turn.seconds


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_balancer_takes_who_is_there(toy_server, scheme):
    address = (toy_server.rest if scheme == "http" else toy_server.grpc).split("://")[1]
    with Balancer(["127.0.0.1:1", address]) as balancer:
        for _ in range(3):
            with Client(f"{scheme}://{balancer.address}/pixels", timeout=20) as client:
                np.testing.assert_allclose(client.predict(IMAGES)[2].probabilities, truth()[2], rtol=1e-5)
        balancer.replicas[:] = ["127.0.0.1:1"]
        with Client(f"{scheme}://{balancer.address}/pixels", timeout=20) as client, pytest.raises(ServingError):
            client.predict(IMAGES)
