"""What the client gives for each record: its answer, whatever the outputs are, or why there is none."""

import io

import pytest
import served
from PIL import Image

from cnn_app.errors import ServingError
from cnn_app.serving import Client
from cnn_app.serving.client import RecordError
from cnn_app.serving.server.service import Limits


def test_each_record_gets_its_answer_or_its_error(endpoint):
    records = [served.png(served.one_colour("red")) if i % 3 else b"no image" for i in range(30)]
    with Client(f"{endpoint}/labels/stable", parallel=4) as client:
        found = list(client.each(iter(records)))
    assert [isinstance(one, RecordError) for one in found] == [i % 3 == 0 for i in range(30)]
    assert {one.labels[0] for one in found if not isinstance(one, RecordError)} == {"red"}
    assert str(found[0]).endswith(": cannot read the record: it is no JPEG, PNG, WebP, BMP or GIF")  # not "image 0"


@pytest.mark.slow
def test_a_record_that_is_too_large_is_an_error_of_its_own(colours):
    large, good = bytes(2**21), served.png(served.one_colour("blue"))
    with served.running(colours, limits=Limits(body_bytes=2**20)) as found:
        for address in (found.rest, found.grpc):
            with Client(f"{address}/colours") as client:
                refused, answer = client.each([large, good])
                assert isinstance(refused, RecordError) and answer.labels[0] == "blue"


def test_what_concerns_every_record_is_raised(endpoint):
    with Client(f"{endpoint}s") as client, pytest.raises(ServingError, match="models here: colours") as error:
        list(client.each([served.one_colour("red")]))
    assert not isinstance(error.value, RecordError)


def test_texts_and_masks(tmp_path):
    """Outputs are the same by either way, whatever they are."""
    places = [f"{name}={make(tmp_path / name)}" for name, make in (("moods", served.moods), ("masks", served.masks))]
    outputs = []
    with served.running(*places) as found:
        for address in (found.rest, found.grpc):
            with Client(f"{address}/moods") as client:
                good, bad = client.predict(["a good day", "a b\u00e4d one"])
                assert good.labels == ("glad", "sad") and bad.top(1) == [{"label": "sad", "probability": 0.75}]
                with pytest.raises(ServingError, match="image_bytes"):
                    client.predict([b"an image"])
            with Client(f"{address}/masks") as client:
                (answer,) = client.predict([served.png(served.one_colour("red", 40))])
                outputs.append(answer.outputs)
                with pytest.raises(
                    ServingError, match="answers with legend, overlay_bytes; probabilities are expected"
                ):
                    answer.top()
    for found in outputs:
        assert found["legend"].tolist() == [b"bright things #ff0000"]
        assert Image.open(io.BytesIO(found["overlay_bytes"].item())).mode == "RGBA"
    assert outputs[0]["overlay_bytes"].item() == outputs[1]["overlay_bytes"].item()
