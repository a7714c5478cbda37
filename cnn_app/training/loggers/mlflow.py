"""A run of MLflow, where its environment says, such as MLFLOW_TRACKING_URI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnn_app.training.loggers import Write

NEEDS = "mlflow"


@contextmanager
def writing(place: Path, facts: Mapping) -> Iterator[Write]:
    import mlflow

    with mlflow.start_run(run_name=place.name):
        mlflow.log_params(dict(facts))

        def write(step: int, numbers: Mapping[str, float]) -> None:
            mlflow.log_metrics(dict(numbers), step=step)

        yield write
