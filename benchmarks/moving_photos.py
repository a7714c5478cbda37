"""Clips filmed from photos: `python benchmarks/moving_photos.py photos moving-photos`.

A window of 64x64 goes over each photo under a folder in nine ways, which are the classes: it pans to four sides, moves
in or out, turns, or is held, always with a little tremble and noise. Each way of a photo is an animated GIF, or with
`--frames` a folder of JPEG; of every ten photos six are for training, one for validation and three for testing, by the
order of a digest of their names, so that no photo is in two splits.
"""

import argparse
import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, FRAMES, SHORT = 64, 12, 150  # of the window, of a clip, and the shorter side that photos are brought to
PANS = {"pan_left": (-1, 0), "pan_right": (1, 0), "pan_up": (0, -1), "pan_down": (0, 1)}  # of the window
ZOOMS = {"zoom_in": -1, "zoom_out": 1}
TURNS = {"turn_left": -1, "turn_right": 1}
MOTIONS = (*PANS, *ZOOMS, *TURNS, "held")
SPLITS = ("train",) * 6 + ("val",) + ("test",) * 3


def filmed(photo, motion, rng):
    """uint8 (12, 64, 64, 3)."""
    scale = SHORT / min(photo.size)
    photo = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BILINEAR, reducing_gap=3)
    time = np.arange(FRAMES) - (FRAMES - 1) / 2
    pan = rng.uniform(1.5, 3.0) * np.array(PANS.get(motion, (0, 0)))
    zoom, turn = rng.uniform(0.03, 0.06) * ZOOMS.get(motion, 0), np.radians(rng.uniform(2, 5)) * TURNS.get(motion, 0)
    margin = 0.5 * SIDE + FRAMES / 2 * np.abs(pan) + 8
    centre = rng.uniform(margin, np.maximum(np.array(photo.size) - margin, margin + 1))
    angle = rng.uniform(-0.2, 0.2)
    frames = []
    for t in time:
        middle, size = centre + t * pan + rng.normal(0, 0.25, 2), np.exp(t * zoom)
        cosine, sine = size * np.cos(angle + t * turn), size * np.sin(angle + t * turn)
        half = (SIDE - 1) / 2
        matrix = (cosine, -sine, middle[0] - half * (cosine - sine), sine, cosine, middle[1] - half * (sine + cosine))
        frame = photo.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        frames.append(np.asarray(frame) + rng.normal(0, 3, (SIDE, SIDE, 1)))
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


def write(clip, place, as_frames):
    images = [Image.fromarray(frame) for frame in clip]
    if as_frames:
        place.mkdir(parents=True)
        for number, image in enumerate(images):
            image.save(place / f"{number}.jpg", quality=90)
        return place.name
    place.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(place.parent / f"{place.name}.gif", save_all=True, append_images=images[1:], duration=80, loop=0)
    return f"{place.name}.gif"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", action="store_true")
    given = parser.parse_args()
    photos = sorted(given.photos.rglob("*.jpg"), key=lambda file: hashlib.sha256(file.name.encode()).digest())
    rows = []
    for number, file in enumerate(photos):
        photo = Image.open(file).convert("RGB")
        for place, motion in enumerate(MOTIONS):
            clip = filmed(photo, motion, np.random.default_rng([number, place]))
            name = write(clip, given.folder / motion / f"{file.parent.name}-{file.stem}", given.frames)
            rows.append((f"{motion}/{name}", SPLITS[number % 10]))
    with open(given.folder / "splits.csv", "w", newline="") as table:
        csv.writer(table).writerows([("file", "split"), *sorted(rows)])


if __name__ == "__main__":
    main()
