"""ImageNet weights from those who publish them: where they lie, and a cache with digests.

A digest that the publisher states is checked at once. Where none is stated, that of the first download is kept beside
the file, and the file must have it from then on.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_app import registry, systems
from cnn_app.atomic import replacing, write_text
from cnn_app.errors import ModelError

if TYPE_CHECKING:
    import keras

    from cnn_app.transfer.pretrained.weights import Loaded

KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
HUB = "https://huggingface.co/timm"
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20
MAX_BYTES = 8 * 2**30
MD5 = {  # as keras.applications states them
    "resnet50": "2cb95161c43110f7111970584f804107",
    "resnet101": "f1aeb4b969a6efcfb50fad2f0c20cfc5",
    "resnet152": "100835be76be38e30d865e96f2aaae62",
    "vgg16": "64373286793e3c8b2b4e3219cbf3544b",
    "vgg19": "cbe5617147190e668d6c5d5026f83318",
}
TIMM = {
    "resnet18": "resnet18.a1_in1k",
    "resnet34": "resnet34.a1_in1k",
    "resnext50_32x4d": "resnext50_32x4d.a1h_in1k",
    "resnext101_32x4d": "resnext101_32x4d.gluon_in1k",
    "resnext101_32x8d": "resnext101_32x8d.tv_in1k",
    "resnext101_64x4d": "resnext101_64x4d.tv_in1k",
    "seresnet50": "seresnet50.a1_in1k",
    "seresnext50_32x4d": "seresnext50_32x4d.racm_in1k",
    "seresnext101_32x4d": "seresnext101_32x4d.gluon_in1k",
    "vgg11": "vgg11.tv_in1k",
    "vgg13": "vgg13.tv_in1k",
    "vgg11_bn": "vgg11_bn.tv_in1k",
    "vgg13_bn": "vgg13_bn.tv_in1k",
    "vgg16_bn": "vgg16_bn.tv_in1k",
    "vgg19_bn": "vgg19_bn.tv_in1k",
}
A1, A1_SHARE = (".a1_in1k", ".a1h_in1k"), 0.95  # timm's crop for its recipe A1 (arXiv:2110.00476, section 4)
V1_WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
V2_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
V1_SIZES, V2_SIZES = (128, 160, 192, 224), (96, 128, 160, 192, 224)
Opener = Callable[[str], AbstractContextManager]  # what is entered has read(n) and headers


@dataclass(frozen=True)
class Published:
    url: str
    file: str  # its name in the cache
    md5: str | None = None  # if the publisher states it
    crop_share: float = registry.CROP_SHARE  # of images that the publisher evaluates on


def of(name: str, columns: dict) -> Published:
    """Where the ImageNet weights of variant `name` with `columns` are published."""
    row = registry.spec(name, **columns)
    if name in TIMM:
        share = A1_SHARE if TIMM[name].endswith(A1) else registry.CROP_SHARE
        return Published(f"{HUB}/{TIMM[name]}/resolve/main/model.safetensors", f"{TIMM[name]}.safetensors",
                         crop_share=share)  # fmt: skip
    file = folder = None
    if name in MD5:
        file, folder = f"{name}_weights_tf_dim_ordering_tf_kernels.h5", "resnet" if "resnet" in name else name
    elif name == "mobilenet_v1" and row.width in V1_WIDTHS:
        size = _size(row.image, V1_SIZES)
        file, folder = f"mobilenet_{V1_WIDTHS[row.width]}_{size}_tf.h5", "mobilenet"
    elif name == "mobilenet_v2" and row.width in V2_WIDTHS:
        size = _size(row.image, V2_SIZES)
        file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(row.width)}_{size}.h5"
        folder = "mobilenet_v2"
    if file is None:
        raise ModelError(f"no ImageNet weights are known to be published for {name} with its columns; give a file")
    return Published(f"{KERAS}/{folder}/{file}", file, MD5.get(name))


def _size(image: tuple[int, int, int], sizes: tuple[int, ...]) -> int:
    """Of the images that weights were learned from: these, or the usual ones."""
    return image[0] if image[0] == image[1] and image[0] in sizes else 224


def fetch(published: Published, directory: Path | None = None, opener: Opener | None = None) -> Path:
    """The file in the cache, downloaded if it is not there, with the digest it must have."""
    path = (directory or systems.cache()) / published.file
    sidecar = path.with_name(f"{path.name}.sha256")
    if not path.is_file():
        with replacing(path) as scratch:
            _download(published.url, scratch, opener or _open)
            _check(scratch, published, sidecar)
    else:
        _check(path, published, sidecar)
    if published.md5 is None and not sidecar.is_file():
        write_text(sidecar, f"{_digest(path, 'sha256')}  {path.name}\n")
    return path


def load(model: keras.Model, columns: dict) -> Loaded:
    """Set the ImageNet weights that are published for `model`, a network with these `columns`."""
    from cnn_app.transfer.pretrained.weights import load_weights

    known = of(model.name, columns)
    loaded = load_weights(model, fetch(known))
    model.resizing = {"resize": registry.CROP, "crop_share": known.crop_share}
    return loaded


def _open(url: str):
    return urllib.request.urlopen(url, timeout=TIMEOUT)


def _download(url: str, path: Path, opener: Opener) -> None:
    try:
        with opener(url) as response, path.open("wb") as stream:
            promised, got = response.headers.get("Content-Length"), 0
            while chunk := response.read(CHUNK):
                got += len(chunk)
                if got > MAX_BYTES:
                    raise ModelError(f"{url} is larger than {MAX_BYTES >> 30} GiB; that is no file of weights")
                stream.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelError(
            f"cannot reach {url} ({reason}); download it where there is a network and give its path as weights"
        ) from error
    if promised is not None and got != int(promised):
        raise ModelError(f"{url} broke off after {got} of {promised} bytes; try again")


def _check(path: Path, published: Published, sidecar: Path) -> None:
    """Refuse a file that is not what was published, or not what was downloaded first."""
    kind, expected = "md5", published.md5
    if expected is None and sidecar.is_file():
        kind, expected = "sha256", sidecar.read_text("utf-8", "replace").split()[0]
    if expected is not None and _digest(path, kind) != expected:
        file = sidecar.with_name(published.file)
        raise ModelError(
            f"{published.file} from {published.url} has not the {kind} {expected}; "
            f"remove {file} and {sidecar.name} if they are there, and try again"
        )


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()
