"""REST requests for the models of `toys`, as `grpc_grammar` makes gRPC's: JSON, and what is none."""

from __future__ import annotations

import base64
import json
from random import Random

from grpc_grammar import LEAK, PNG, likely, mutated
from toys import CLASSIFY, REGRESS, SIDE

STATUSES = {200, *range(400, 500), 503}
DEEP = (3, 90, 110, 900, 20_000)  # lists in lists
TEMPLATES = (
    ("pixels", "predict", {"instances": [[[[1, 2, 3]] * SIDE] * SIDE]}),
    ("pixels", "predict", {"signature_name": "image_bytes", "instances": [{"b64": base64.b64encode(PNG).decode()}]}),
    ("pixels", "predict", {"inputs": {"image": [[[[0] * 3] * SIDE] * SIDE]}}),
    ("examples", "predict", {"instances": [1.0, 2.5]}),
    ("examples", "predict", {"inputs": {"x": [[1], [2]]}}),
    ("words", "predict", {"signature_name": "text", "instances": ["a", "\u00e9"]}),
    ("examples", "classify", {"signature_name": CLASSIFY, "examples": [{"x": 1.0}, {"x": [2.0], "y": "a"}]}),
    ("examples", "regress", {"signature_name": REGRESS, "context": {"x": 1.0}, "examples": [{}, {"z": [1, 2]}]}),
)
KEYS = ("instances", "inputs", "signature_name", "examples", "context", "b64", "x", "image", "text", "\\ud800", "",
        "\\u0000", "outputs")  # fmt: skip
NUMBERS = ("0", "-0", "1", "-1", "255", "256", "1.5", "1e5", "1e400", "-1e400", "1e-400", "9" * 30, "9" * 400,
           "9" * 5000, "NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10")  # fmt: skip
STRINGS = ('""', '"a"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x"', '"\t"', f'"{"a" * 400}"', '"\u00e9"',
           '"serving_default"', '"image_bytes"', '"text"', '"AAAA"', '"not base64!"', "'a'", '"')  # fmt: skip
PARTS = ("/versions/1", "/versions/2", "/versions/99", "/versions/99999999999999999999", "/versions/-1",
         "/labels/stable", "/labels/%00", "/labels/%ff%fe", f"/labels/{'a' * 300}", "/metadata",
         "/versions/%d9%a1")  # fmt: skip


def post(random: Random) -> tuple[str, str, bytes]:
    """A method, a path and a body."""
    model, verb, body = random.choice(TEMPLATES)
    method = "POST" if likely(random, 95) else random.choice(("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))
    if likely(random, 10):
        model, verb = (
            random.choice(("pixels", "none", "%2e%2e", "a" * 300)),
            random.choice(("predict", "none", "CLASSIFY")),
        )
    part = random.choice(PARTS) if likely(random, 15) else ""
    text = json.dumps(body, ensure_ascii=likely(random, 50))
    if likely(random, 80):
        text = respelled(body, random)
    data = text.encode("utf-8", "surrogatepass")
    if likely(random, 20):
        data = mutated(data, random)
    return method, f"/v1/models/{model}{part}:{verb}", data


def respelled(value, random: Random) -> str:
    """JSON for a value, but for a place or two, where any other text may stand."""
    if likely(random, 8):
        return anything(random, 4)
    if isinstance(value, dict):
        pairs = [(json.dumps(key), respelled(one, random)) for key, one in value.items()]
        if likely(random, 15):
            pairs.append((f'"{random.choice(KEYS)}"', anything(random, 3)))  # perhaps a key that is there already
        return f"{{{', '.join(f'{key}: {one}' for key, one in pairs)}}}"
    if isinstance(value, list):
        few = value[:3]  # of eight equal rows
        return f"[{', '.join([respelled(one, random) for one in few] + [json.dumps(one) for one in value[3:]])}]"
    return json.dumps(value)


def anything(random: Random, depth: int) -> str:
    """Text that is JSON, or nearly."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice(STRINGS)
    if kind == 2:
        return random.choice(("true", "false", "null", "None", "[]", "{}", "[[]]", "[{}]"))
    if kind == 3:
        times, core = random.choice(DEEP), random.choice(("", "1", '"a"', "{}"))
        return "[" * times + core + "]" * times
    if kind == 4:
        times = random.choice(DEEP)
        return '{"a":' * times + "1" + "}" * times
    parts = [anything(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 5:
        return f"{{{', '.join(f'{chr(34)}{random.choice(KEYS)}{chr(34)}: {part}' for part in parts)}}}"
    return f"[{', '.join(parts)}]"


def wrong(status: int, body: bytes) -> str:
    """What is wrong with an answer; "" where nothing is. Errors are {"error": a line}."""
    shown = f"{status}: {body[:300]!r}"
    if status not in STATUSES:
        return shown
    if status == 200:
        return ""
    try:
        found = json.loads(body)
    except ValueError:
        return f"no JSON, {shown}"
    plain = isinstance(found, dict) and list(found) == ["error"] and isinstance(found["error"], str) and found["error"]
    return shown if not plain or LEAK.search(found["error"]) else ""
