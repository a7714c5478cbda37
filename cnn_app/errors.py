"""Every error a user can cause.

CnnAppError
├── UnknownName      a model, column, head, target or layer that is not there
├── ModelError       a network that cannot be built, or a file that is no model of ours
├── DataError        images, folders and data sets
├── RecipeError      a TOML recipe that says something we do not know
├── TrainingError    a run that cannot start or go on
├── ArtifactError    the model store: missing, damaged or unwritable files
├── ExportError      a target that cannot be written, or that failed its verification
├── DeliveryError    a catalogue, key or download that is not to be trusted, or not there
└── ServingError     a server, a request or a model version that cannot be served
"""

import difflib
import re
from collections.abc import Iterable

NAME = 80  # characters of one that are shown
OBEYED = re.compile(  # by terminals: controls, marks of direction and breaks, halves of characters; not \t and \n
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


class CnnAppError(Exception):
    """The CLI prints the message and exits 1; a library caller may catch it."""


class ModelError(CnnAppError): ...


class DataError(CnnAppError): ...


class RecipeError(CnnAppError): ...


class TrainingError(CnnAppError): ...


class ArtifactError(CnnAppError): ...


class ExportError(CnnAppError): ...


class DeliveryError(CnnAppError): ...


class ServingError(CnnAppError): ...


class UnknownName(CnnAppError):
    """`unknown("model", "resnet5", names)` names the nearest ones."""


def printable(text: str) -> str:
    """`text` without what a terminal would obey, such as escape sequences in a label or in a file's name."""
    return OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a message of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def unknown(kind: str, name: str, known: Iterable[str], error: type[CnnAppError] = UnknownName) -> CnnAppError:
    """An error for `name`, which is none of `known`; short lists are shown whole, long ones by likeness."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=4)
    if len(known) <= 12:
        hint = f"known: {', '.join(known)}"
    elif near:
        hint = f"did you mean {', '.join(near)}?"
    else:
        hint = f"{len(known)} are known, such as {', '.join(known[:5])}"
    shown = name if len(name) <= NAME else f"{name[:NAME]}..."
    return error(f"no {kind} named {shown!r}; {hint}")
