"""Time-delay networks: layers that see a few frames of a sound, at whatever time, and a mean over time.

A time-delay layer is a convolution over frames, dilated where its delays are further apart; to have the kernels of all
runtimes it is one over images of frames x 1. A wave becomes frames of log power in bands of the mel scale, or with
`cepstra` MFCC, each without its mean over the record; that is inside of the graph.

- `tdnn_1989`: Waibel et al., "Phoneme recognition using time-delay neural networks", IEEE Trans. ASSP 37(3), Figure 2:
  16 bands, 15 frames of 10 ms at 12 kHz; 8 units that see 3 frames, then one for each of B, D and G that sees 5. In the
  paper a frame is the mean of two of 5 ms, bands are scaled to lie between -1 and 1, and an output unit sums one unit's
  evidence over time with equal weights that are fixed; here its weights learn, from the means of all.
- `tdnn`: Peddinti, Povey, Khudanpur, "A time delay neural network architecture for efficient modeling of long temporal
  contexts", Interspeech 2015, Table 1: the delays {-2..2}, {-1, 2}, {-3, 3}, {-7, 2}, {0}. It is narrower, has ReLU and
  batch normalization in the place of p-norm, no mean in the place of an i-vector that tells it, and gives one class for
  all frames, by their mean.
- `tdnn_xvector`: Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition", ICASSP 2018, Table 1, with
  mean and standard deviation over time, on records of 3 seconds. Normalization is in front of ReLU, where it is folded.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.architectures.blocks import BN_MOMENTUM, logits
from cnn_app.layers import Cepstrum, LogMel, MinusMean, StatisticsPooling
from cnn_app.layers.spectra import mel_matrix, points_of
from cnn_app.registry import Variant

POOLINGS = {"average": layers.GlobalAveragePooling2D, "statistics": StatisticsPooling}
ACTIVATIONS = ("relu", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class TDNN(Variant):
    paper: str
    year: int
    input: str = "audio"
    rate: int = 8000  # samples of a second
    samples: int = 8000  # of a record
    frame_ms: float = 25.0  # of a spectrum
    hop_ms: float = 10.0  # from one to the next
    bands: int = 40  # of the mel scale, from 20 Hz to half the rate
    cepstra: int = 0  # coefficients of MFCC; 0: the bands themselves
    minus_mean: bool = True  # of the record, which tells its speaker and microphone; false where sounds are steady
    maps: tuple[int, ...]  # of each time-delay layer
    taps: tuple[int, ...]  # frames that each sees
    dilations: tuple[int, ...]  # from one of them to the next
    activation: str = "relu"  # or sigmoid
    batch_norm: bool = True
    pooling: str = "average"  # over time, or statistics: mean and standard deviation
    segments: tuple[int, ...] = ()  # units of fully connected layers behind it

    @property
    def frame(self) -> int:
        """In samples."""
        return round(self.rate * self.frame_ms / 1000)

    @property
    def hop(self) -> int:
        return round(self.rate * self.hop_ms / 1000)

    def problem(self) -> str | None:
        rows = self.maps, self.taps, self.dilations
        if len({*map(len, rows)}) > 1 or not self.maps or min(map(min, (*rows, self.segments or (1,)))) < 1:
            return (f"needs maps, taps and dilations of one or more for each layer, received {list(self.maps)}, "
                    f"{list(self.taps)} and {list(self.dilations)}")  # fmt: skip
        if self.activation not in ACTIVATIONS or self.pooling not in POOLINGS:
            return (f"takes activation {' or '.join(ACTIVATIONS)} and pooling {' or '.join(POOLINGS)}, received "
                    f"{self.activation!r} and {self.pooling!r}")  # fmt: skip
        if not 1000 <= self.rate <= 192_000 or self.hop < 1 or not 8 <= self.frame <= 2**14:
            return (f"needs a rate from 1000 to 192000 and frames of 8 to {2**14} samples, received {self.rate} and "
                    f"{self.frame_ms:g} ms each {self.hop_ms:g} ms")  # fmt: skip
        points = points_of(self.frame)
        if self.bands < 1 or not mel_matrix(self.rate, points, self.bands, LOW, self.rate / 2).any(0).all():
            return f"has a band without a frequency at frames of {self.frame_ms:g} ms, received {self.bands} bands"
        if not 0 <= self.cepstra <= self.bands:
            return f"has at most as many cepstra as bands, {self.bands}, received {self.cepstra}"
        reach = 1 + sum((taps - 1) * dilation for taps, dilation in zip(self.taps, self.dilations, strict=True))
        least = self.frame + (reach - 1) * self.hop
        if self.samples < least:
            return f"sees {reach} frames, which are {least} samples; received samples {self.samples}"
        if self.samples % (step := math.gcd(self.frame, self.hop)):
            return f"takes samples in multiples of {step}, which divides frame and hop; received {self.samples}"
        return super().problem()


LOW = 20.0  # Hz
VARIANTS = {
    "tdnn": TDNN(paper="Peddinti et al. 2015", year=2015, maps=(128,) * 5, taps=(5, 2, 2, 2, 1),
                 dilations=(1, 3, 6, 9, 1), classes=10),
    "tdnn_1989": TDNN(paper="Waibel et al. 1989", year=1989, rate=12_000, samples=1936, frame_ms=256 / 12, bands=16,
                      maps=(8, 3), taps=(3, 5), dilations=(1, 1), activation="sigmoid", batch_norm=False, classes=3),
    "tdnn_xvector": TDNN(paper="Snyder et al. 2018", year=2018, samples=24_000, bands=24, maps=(512,) * 4 + (1500,),
                         taps=(5, 3, 3, 1, 1), dilations=(1, 2, 3, 1, 1), pooling="statistics", segments=(512, 512)),
}  # fmt: skip


def build(spec: TDNN) -> keras.Model:
    """Waves (N, samples) in [-1, 1] -> logits (N, classes)."""
    wave = keras.Input((spec.samples,), name="audio")
    return keras.Model(wave, logits(list(features(spec, wave).values())[-1], spec))


def features(spec: TDNN, wave) -> dict:
    """`bands` (N, frames, 1, bands or cepstra), `delay1` (N, frames, 1, maps) and more, `pool` (N, C), `segment1`..."""
    x = LogMel(spec.rate, spec.frame, spec.hop, spec.bands, LOW, name="log_mel", dtype="float32")(wave)
    x = Cepstrum(spec.cepstra, name="cepstrum", dtype="float32")(x) if spec.cepstra else x
    x = MinusMean(name="minus_mean", dtype="float32")(x) if spec.minus_mean else x
    taps = {"bands": x}
    rows = zip(spec.maps, spec.taps, spec.dilations, strict=True)
    for place, (maps, seen, dilation) in enumerate(rows, start=1):
        x = layers.Conv2D(maps, (seen, 1), dilation_rate=(dilation, 1), use_bias=not spec.batch_norm,
                          name=f"delay{place}_conv")(x)  # fmt: skip
        x = taps[f"delay{place}"] = _activated(x, spec, f"delay{place}")
    x = taps["pool"] = POOLINGS[spec.pooling](name="pool")(x)
    for place, units in enumerate(spec.segments, start=1):
        x = layers.Dense(units, use_bias=not spec.batch_norm, name=f"segment{place}_dense")(x)
        x = taps[f"segment{place}"] = _activated(x, spec, f"segment{place}")
    return taps


def _activated(x, spec: TDNN, name: str):
    if spec.batch_norm:
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.Activation(spec.activation, name=f"{name}_{spec.activation}")(x)
