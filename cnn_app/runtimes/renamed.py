"""A file that others made, under the names that a task has for what goes in and what comes out."""

from __future__ import annotations

from cnn_app.runtimes import Runtime
from cnn_app.tensors import Arrays


class Renamed:
    """A runtime of one input and one output, called `taken` and `given` from now on."""

    def __init__(self, runtime: Runtime, taken: str, given: str):
        self.runtime, self.path, self.about = runtime, runtime.path, runtime.about
        self.taken, self.given = taken, given
        ((self.theirs, spec),) = runtime.inputs.items()
        self.inputs, self.outputs = {taken: spec}, {given: next(iter(runtime.outputs.values()))}

    def run(self, arrays: Arrays) -> Arrays:
        (found,) = self.runtime.run({self.theirs: arrays[self.taken]}).values()
        return {self.given: found}
