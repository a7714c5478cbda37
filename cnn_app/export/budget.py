"""What a file loses, with an interval: the same records go through it and through the Keras model.

Of shares of right answers it is Tango's score interval for a difference of paired proportions (Statistics in Medicine
17, 1998, 891-908): it holds for few records, and for a file that changes no answer. Other metrics are of the whole
set: theirs is the delete-a-group jackknife (Kott, Journal of Official Statistics 17, 2001, 521-526).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cnn_app import tasks
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

ROUNDING = 1e-9  # of points
CONFIDENCE = 0.95  # of an interval where nobody asks for another
GROUPS = 20  # of records that the jackknife leaves out in turn
STEP = 1e-12  # away from the difference itself, where the score of an unchanged file is 0 / 0
MOST = 10**7  # records that anybody would be asked for


@dataclass(frozen=True)
class Interval:
    low: float  # points lost; below 0 is a gain
    high: float
    confidence: float
    method: str
    changed: tuple[int, int] | None = None  # answers that were right and are wrong, and the other way round

    def as_json(self) -> dict:
        return {"drop_interval": [self.low, self.high], "confidence": self.confidence, "interval_method": self.method}


def interval(task: Task, targets: Arrays, wanted: Arrays, found: Arrays, confidence: float) -> Interval:
    """Of the drop from outputs `wanted`, Keras's, to those `found` in a file."""
    before, after = task.right(wanted, targets), task.right(found, targets)
    if before is None or after is None:
        return jackknife(len(next(iter(wanted.values()))), _drop_of(task, targets, wanted, found), confidence)
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    low, high = tango(lost, won, len(before), confidence)
    return Interval(100 * low, 100 * high, confidence, "Tango 1998", (lost, won))


def tango(lost: float, won: float, n: float, confidence: float) -> tuple[float, float]:
    """The interval of (lost - won) / n, a difference of shares: `lost` and `won` of n pairs fell either way."""
    from scipy.optimize import brentq

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    difference = (lost - won) / n

    def excess(shift: float, sign: int) -> float:
        """By how much the score statistic of that difference is beyond z."""
        first, last = 2 * n, -won * shift * (1 - shift)
        middle = -lost - won + (2 * n - lost + won) * shift
        share = max(0.0, (math.sqrt(max(0.0, middle**2 - 4 * first * last)) - middle) / (2 * first))
        variance = n * (2 * share + shift * (1 - shift))
        return sign * (n * shift - lost + won) - z * math.sqrt(max(variance, 0.0))

    high = 1.0 if difference == 1 else brentq(excess, difference + STEP, 1.0, (1,))
    low = -1.0 if difference == -1 else brentq(excess, -1.0, difference - STEP, (-1,))
    return low, high


def jackknife(n: int, drop: Callable[[np.ndarray], float], confidence: float) -> Interval:
    """drop(places) is of some of the n records."""
    from scipy.stats import t

    groups = min(GROUPS, n)
    if groups < 2:
        return Interval(-100.0, 100.0, confidence, "delete-a-group jackknife")
    kept = [np.arange(n)[np.arange(n) % groups != group] for group in range(groups)]
    found = np.array([drop(places) for places in kept])
    error = math.sqrt((groups - 1) / groups * np.square(found - found.mean()).sum())
    reach, middle = float(t.ppf((1 + confidence) / 2, groups - 1)) * error, drop(np.arange(n))
    return Interval(middle - reach, middle + reach, confidence, "delete-a-group jackknife")


def _drop_of(task: Task, targets: Arrays, wanted: Arrays, found: Arrays) -> Callable[[np.ndarray], float]:
    def of(outputs: Arrays, places: np.ndarray) -> dict:
        chosen = ({name: array[places] for name, array in arrays.items()} for arrays in (outputs, targets))
        return task.measure([tuple(chosen)]).metrics

    return lambda places: tasks.drop(task, of(wanted, places), of(found, places))


def smallest(max_drop: float, confidence: float) -> int:
    """Records with which a file that changes no answer is within `max_drop` points; MOST where none are enough.

    With nothing lost and nothing won the interval ends at z^2 / (n + z^2).
    """
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), max_drop / 100
    return min(MOST, math.ceil(z**2 * (1 - share) / share)) if share > 0 else MOST


def needed(found: Interval, n: int, max_drop: float) -> int | None:
    """Records with which the same shares of changed answers would be within `max_drop`; None if no number would."""
    if found.changed is None:
        return None
    shares = [count / n for count in found.changed]

    def is_enough(records: int) -> bool:
        return 100 * tango(*(share * records for share in shares), records, found.confidence)[1] <= max_drop

    if not is_enough(MOST):
        return None
    low, high = n, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
