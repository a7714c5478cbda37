"""A search on disk, by Optuna: a journal that processes and machines share, and trials that outlive their processes.

searches/<name>/
    search.journal      every value that was drawn or reported, a line of JSON each
    trials/<number>/    history.csv of a trial, its recipe, and the state of one that is not finished
    trials.csv  search.png  best.toml
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from cnn_app.artifacts import ModelDir, tuples
from cnn_app.errors import ArtifactError, CnnAppError, TrainingError, first_line
from cnn_app.lock import locked
from cnn_app.ranges import Choices, Range
from cnn_app.training import trials

JOURNAL = "search.journal"
STARTUP = 5  # finished trials before one is given up for being worse than their median
FAILED = "failed"  # why, of a trial
STATES = {TrialState.COMPLETE: trials.COMPLETE, TrialState.PRUNED: trials.PRUNED, TrialState.FAIL: trials.FAILED,
          TrialState.RUNNING: trials.RUNNING, TrialState.WAITING: trials.RUNNING}  # fmt: skip


class Differs(TrainingError):
    """A search cannot go on as it began."""


class _Taken(CnnAppError):
    """Another process carries a trial out."""


class _Lock(JournalFileOpenLock):
    """Of the journal. Optuna's own outlive a process that is killed, this one goes with it."""

    def __init__(self, path: Path):
        self.lock = FileLock(path)

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


class ByNumber(BaseSampler):
    """Tree-structured Parzen estimators (Bergstra et al. 2011) whose chance follows from seed, trial and parameter.

    So a search that goes on draws what it would have drawn, and processes that share one draw different values.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def infer_relative_search_space(self, study, trial):
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self._of(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial, name: str = "") -> TPESampler:
        digest = hashlib.sha256(f"{self.seed}/{trial.number}/{name}".encode()).digest()
        return TPESampler(multivariate=True, seed=int.from_bytes(digest[:4], "big"))


class Search:
    """The trials in `folder`, of which each takes a value of every range."""

    def __init__(self, folder: Path, ranges: Mapping[str, Range], directions: list[str], seed: int, patience: int):
        """directions: "maximize" or "minimize", for each objective. patience: epochs before a trial is given up.

        Raises ArtifactError for a folder that cannot be written, or a journal that is none.
        """
        self.folder, self.ranges = folder, ranges
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.alone = FileLock(folder / ".claim.lock")
            lock = _Lock(folder / ".journal.lock")
            _mend(folder / JOURNAL, lock)
            optuna.logging.set_verbosity(optuna.logging.ERROR)  # trials are told by whoever carries them out
            with self.alone:
                self.study = optuna.create_study(
                    study_name=folder.name, directions=directions, load_if_exists=True, sampler=ByNumber(seed),
                    storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL), lock)),
                    pruner=optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=patience + 1),
                )  # fmt: skip
        except OSError as error:
            raise ArtifactError(f"cannot write {folder}: {error.strerror or error}; choose another place") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{folder / JOURNAL} is damaged ({first_line(error)}); remove {folder}") from error

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def check(self, name: str, value) -> None:
        """Refuse what is not as it was when the search began; `value` is JSON."""
        with self.alone:
            before = self.study.user_attrs.get(name)
            if before is None:
                self.study.set_user_attr(name, value)
            elif before != value:
                raise Differs(
                    f"{self.folder} is a search with another {name}{_differing(before, value)}; give the recipe "
                    f"another name, or remove {self.folder}"
                )

    def directory(self, number: int) -> ModelDir:
        return ModelDir(self.folder / "trials" / f"{number:04}")

    @contextmanager
    def claimed(self, most: int) -> Iterator[Trial | None]:
        """A trial that this process holds: one whose process died, or a new one where there are fewer than `most`."""
        with ExitStack() as stack:
            with self.alone:
                trial = self._left(stack) or self._new(stack, most)
                if trial:
                    for name, found in self.ranges.items():
                        _draw(trial, name, found)
            yield trial

    def _left(self, stack: ExitStack) -> Trial | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                stack.enter_context(locked(self.directory(trial.number).path, _Taken, again=False))
            except _Taken:
                continue
            return Trial(self.study, trial._trial_id)
        return None

    def _new(self, stack: ExitStack, most: int) -> Trial | None:
        if len(self.trials) >= most:
            return None
        trial = self.study.ask()
        stack.enter_context(locked(self.directory(trial.number).path, _Taken, again=False))
        return trial


def values(trial: Trial | FrozenTrial) -> dict:
    """The value of each range."""
    return {name: tuples(json.loads(one)) if isinstance(one, str) else one for name, one in trial.params.items()}


def best(search: Search) -> list[int]:
    """The numbers of finished trials that no other is better than in one objective and as good in the rest."""
    if not any(trial.state == TrialState.COMPLETE for trial in search.trials):
        return []
    several = len(search.study.directions) > 1
    return sorted(one.number for one in (search.study.best_trials if several else [search.study.best_trial]))


def row(trial: FrozenTrial, metric: str, cost: str | None) -> dict:
    """A trial for a table: keys in front of the dot that tells the table of a recipe are left out."""
    found: dict = {trials.TRIAL: trial.number, trials.STATE: STATES[trial.state], metric: None}
    if trial.values:
        found[metric] = trial.values[0]
    found |= {"epoch": trial.user_attrs.get("epoch", trial.last_step)}
    found |= {cost: trial.user_attrs.get(cost)} if cost else {}
    found |= {name.partition(".")[2]: value for name, value in values(trial).items()}
    return found | {"why": trial.user_attrs.get(FAILED)}


def _draw(trial: Trial, name: str, found: Range) -> None:
    """A value that was drawn before stays."""
    if isinstance(found, Choices):
        trial.suggest_categorical(name, [json.dumps(value) for value in found.values])  # Optuna takes no lists
    elif found.whole:
        trial.suggest_int(name, int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
    else:
        trial.suggest_float(name, found.low, found.high, log=found.log, step=found.step)


def _mend(journal: Path, lock: _Lock) -> None:
    """Cut off the half of a line that a process left which was killed in the middle of it."""
    with lock.lock:
        data = journal.read_bytes() if journal.is_file() else b""
        if data and not data.endswith(b"\n"):
            with journal.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def _differing(before, value) -> str:
    """Which keys, where there are some."""
    if not isinstance(before, dict) or not isinstance(value, dict):
        return ""
    return f" ({', '.join(sorted(name for name in before | value if before.get(name) != value.get(name)))})"
