"""Signed delivery of mobile model files, in TUF's format: a publisher signs a static catalogue, clients fetch from it.

CATALOGUE/
    metadata/   N.root.json  N.targets.json  N.snapshot.json  timestamp.json
    targets/    NAME/CHANNEL/DEVICE/VERSION/SHA256.NAME.tflite, with its golden answers beside it

Format and attacks: https://theupdateframework.github.io/specification/latest/
"""

from importlib.util import find_spec

from cnn_app.errors import DeliveryError

if not (find_spec("tuf") and find_spec("cryptography")):
    raise DeliveryError("signed delivery needs python-tuf; pip install 'cnn-app[deliver]'")
