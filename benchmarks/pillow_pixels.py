"""How far a client that prepares images by Pillow is from the pixels that every file of a model sees.

python benchmarks/pillow_pixels.py FOLDER

Each image of FOLDER is taken as it is, and written anew in every other format that is read.
"""

import argparse
import io
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image, ImageOps

from cnn_app.cli.view import table
from cnn_app.inputs import pixels
from cnn_app.inputs.image import Image as Input
from cnn_app.inputs.image_files import image_files

FORMATS = {
    "PNG": {}, "BMP": {}, "GIF": {}, "WEBP lossless": {"lossless": True}, "WEBP": {"quality": 80},
    "JPEG": {"quality": 90}, "JPEG progressive": {"quality": 90, "progressive": True},
    "JPEG 4:4:4": {"quality": 90, "subsampling": 0},
}  # fmt: skip
SIDE = 224


def by_pillow(data: bytes, input: Input) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if input.resize == "stretch":
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    short = round(SIDE / input.crop_share)
    width, height = (short * side // min(image.size) for side in image.size)
    left, top = round((width - SIDE) / 2), round((height - SIDE) / 2)
    return np.asarray(
        image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIDE, top + SIDE))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    files, rows = image_files(parser.parse_args().folder), []
    for name, options in FORMATS.items():
        for input in (Input((SIDE, SIDE, 3)), Input((SIDE, SIDE, 3), "crop")):
            found = []
            for file in files:
                out = io.BytesIO()
                Image.open(file).convert("RGB").save(out, name.partition(" ")[0], **options)
                ours = pixels.load(out.getvalue(), str(file), input).astype(int)
                found.append(np.abs(ours - by_pillow(out.getvalue(), input)))
            rows.append((name, input.resize, max(one.max() for one in found),
                         f"{np.mean([one.mean() for one in found]):.3f}", len(files)))  # fmt: skip
    table(["format", "resize", ">largest difference", ">mean", ">images"], rows)


if __name__ == "__main__":
    main()
