"""Losses of twenty steps on all machines of TF_CONFIG, or on this one: `python together.py FOLDER`, on any backend."""

import json
import sys
from pathlib import Path

import stepping

from cnn_app.training.step import devices

if __name__ == "__main__":
    places = devices.chosen(None)
    changes = ({}, {"clip": 0.5}, {"ema": 0.9})
    print(json.dumps([stepping.losses(Path(sys.argv[1]), steps=20, devices=places, **change) for change in changes]))
