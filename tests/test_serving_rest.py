import base64, json
import numpy as np, pytest, urllib3
from served import *


def test_first(addresses):
    http = urllib3.PoolManager()
    base = f"{addresses.rest}/v1/models/colours"
    print(json.dumps(asked(http, "GET", base)))
    x = pixels(3, 4)
    s, v = asked(http, "POST", base + ":predict", {"instances": x.tolist()})
    print(s, v)
    np.testing.assert_allclose([r["probabilities"] for r in v["predictions"]], probabilities(x), rtol=1e-5)
    s, v = asked(http, "POST", base + "/labels/stable:predict", {"inputs": x.tolist()})
    print(s, v)
    s, v = asked(
        http,
        "POST",
        base + ":predict",
        {"signature_name": "image_bytes", "instances": [{"b64": base64.b64encode(png(one_colour("green"))).decode()}]},
    )
    print(s, v)
    print(asked(http, "GET", base + "/metadata"))
    print(asked(http, "GET", addresses.rest + "/models.json"), asked(http, "GET", addresses.rest + "/healthz"))
    print(asked(http, "POST", base + ":classify", {"examples": [{"x": 1.0}]}))
    print(http.request("GET", addresses.rest + "/monitoring/prometheus/metrics").data.decode()[-500:])
