"""The Free Spoken Digit Dataset as folders of classes: `python benchmarks/spoken_digits.py recordings spoken-digits`.

The folder gets links to {digit}_{speaker}_{take}.wav, and a splits.csv: the takes 0 to 4 are for testing, as is
customary, 5 to 7 for validation. `--speaker theo` tests on all of one speaker instead, and validates on the next one.
"""

import argparse
import csv
from pathlib import Path

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def split_of(speaker, take, tested):
    if tested:
        validated = SPEAKERS[(SPEAKERS.index(tested) + 1) % len(SPEAKERS)]
        return {tested: "test", validated: "val"}.get(speaker, "train")
    return "test" if take < 5 else "val" if take < 8 else "train"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--speaker", choices=SPEAKERS)
    given = parser.parse_args()
    rows = []
    for file in sorted(given.recordings.glob("*.wav")):
        digit, speaker, take = file.stem.split("_")
        place = given.folder / digit / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.resolve())
        rows.append((f"{digit}/{file.name}", split_of(speaker, int(take), given.speaker)))
    with open(given.folder / "splits.csv", "w", newline="") as table:
        csv.writer(table).writerows([("file", "split"), *rows])


if __name__ == "__main__":
    main()
