"""What comes back for one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.errors import ServingError
from cnn_app.names import TOP, code_text

if TYPE_CHECKING:
    from cnn_app.tensors import Arrays


class RecordError(ServingError):
    """The server has no answer to this one record; others may have one."""


@dataclass(frozen=True)
class Answer:
    """The outputs for one record, by name and without a batch axis; strings are bytes in arrays of objects."""

    outputs: Arrays

    @property
    def probabilities(self) -> np.ndarray:
        """(classes,), of each place where there are several, float32; empty if the model does not give them."""
        return np.asarray(self.outputs.get("probabilities", ()), np.float32)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the best classes, where the model names them."""
        return tuple(label.decode(errors="replace") for label in self.outputs.get("classes", ()))

    @property
    def scores(self) -> tuple[float, ...]:
        """Of `labels`: their probabilities, or their shares of a mask."""
        return tuple(map(float, self.outputs.get("scores", ())))

    @property
    def mask(self) -> np.ndarray | None:
        """Places of classes (h, w), of a model that gives them."""
        return self.outputs.get("mask")

    @property
    def box(self) -> dict[str, float] | None:
        """x1, y1, x2, y2 in pixels of the image as it is seen, of a model that gives them."""
        if "box_pixels" not in self.outputs:
            return None
        return dict(zip(("x1", "y1", "x2", "y2"), map(float, self.outputs["box_pixels"]), strict=True))

    @property
    def code(self) -> np.ndarray | None:
        """The numbers that an image is told by, of an autoencoder."""
        return self.outputs.get("code")

    @property
    def tags(self) -> dict | None:
        """Entities, words and their tags, of a model that gives them to texts."""
        if not {"tags", "words", "starts", "ends", "text"} <= set(self.outputs):
            return None
        from cnn_app.tasks import bio

        tags = [tag.decode(errors="replace") for tag in self.outputs["tags"] if tag]
        starts, ends, scores = (self.outputs[name][: len(tags)].tolist() for name in ("starts", "ends", "scores"))
        return bio.told(tags, scores, self.outputs["text"].item().decode(errors="replace"), starts, ends)

    @property
    def caption(self) -> str | None:
        """What is said of an image, of a model that says something."""
        return (
            np.asarray(self.outputs["caption"]).item().decode(errors="replace") if "caption" in self.outputs else None
        )

    @property
    def present(self) -> tuple[str, ...] | None:
        """Those of `labels` that are above their thresholds, of a model for several labels."""
        if "present" not in self.outputs:
            return None
        return tuple(label for label, there in zip(self.labels, self.outputs["present"], strict=True) if there)

    @property
    def _named(self) -> list[tuple[str, float]]:
        return list(zip(self.labels, self.scores, strict=True))

    def top(self, k: int = TOP) -> list[dict]:
        """The best k, or as many as the server named: [{"label", "probability"}], of a mask those in it by "share"."""
        probabilities = self.probabilities
        if self.mask is not None:
            return [{"label": label, "share": score} for label, score in self._named[:k] if score]
        if self.labels:
            found = self._named
        elif probabilities.ndim == 1 and probabilities.size:
            order = np.argsort(-probabilities, kind="stable")
            found = [(str(i), float(probabilities[i])) for i in order]
        else:
            raise ServingError(f"the model answers with {', '.join(sorted(self.outputs))}; probabilities are expected")
        return [{"label": label, "probability": score} for label, score in found[:k]]

    def told(self, k: int = TOP) -> dict:
        """As `cnn_app.predict` tells it."""
        if self.code is not None:
            return {"code": list(map(float, self.code))}
        if self.tags is not None:
            return self.tags
        if self.caption is not None:
            chances = map(float, np.exp(np.asarray(self.outputs["scores"], np.float64)))
            words = [{"word": word, "probability": next(chances)} for word in self.caption.split()]
            return {"caption": self.caption, "words": words}
        there = {} if self.present is None else {"labels": list(self.present)}
        found = {"top": self.top(k)} | ({} if self.box is None else {"box": self.box})
        return there | found | ({} if self.mask is None else {"mask": self.mask.tolist()})

    def text(self, k: int = TOP) -> str:
        """`told` in a line."""
        if self.code is not None:
            return code_text(self.code)
        if self.tags is not None:
            from cnn_app.tasks import bio

            return bio.line(self.tags)
        if self.caption is not None:
            return self.caption
        shown = ".3f" if self.mask is None else ".1%"
        line = "  ".join(f"{label} {format(score, shown)}" for label, score in (row.values() for row in self.top(k)))
        if self.box is not None:
            return f"{line}  at {', '.join(f'{value:.0f}' for value in self.box.values())}"
        return line if self.present is None else f"{', '.join(self.present) or 'no label'}  ({line})"
