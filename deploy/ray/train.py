"""A recipe on the machines of a Ray cluster; one that is lost is replaced, and the run goes on from its checkpoint.

    pip install 'cnn-app[ray]'
    python deploy/ray/train.py /shared/photos.toml --workers 4 --store /shared/saved_models

Recipe, store and data lie where all machines see them. RAY_ADDRESS names the cluster; without it, this machine is one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.tensorflow import TensorflowTrainer


def carry_out(given: dict) -> None:
    """What each worker does, to which Ray has given its TF_CONFIG."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray's, for Keras 2
    from cnn_app import recipe
    from cnn_app.jobs.run import run

    found = recipe.find(given["recipe"])
    resume = Path(given["store"], found.name, "training").is_dir()
    run(found, given["store"], data_dir=given["data_dir"], resume=resume)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a TOML file, or the name of one that comes with cnn-app")
    parser.add_argument("--store", default="saved_models", help="where model directories lie")
    parser.add_argument("--data-dir", help="where TFDS sets lie, if the recipe does not say")
    parser.add_argument("--workers", type=int, default=2, help="machines, or GPUs of machines")
    parser.add_argument("--gpu", action="store_true", help="give each worker a GPU")
    parser.add_argument("--restarts", type=int, default=20, help="how often lost workers are replaced")
    given = parser.parse_args()
    store = Path(given.store).resolve()
    recipe = str(Path(given.recipe).resolve()) if Path(given.recipe).is_file() else given.recipe
    TensorflowTrainer(
        carry_out,
        train_loop_config={"recipe": recipe, "store": str(store), "data_dir": given.data_dir},
        scaling_config=ScalingConfig(num_workers=given.workers, use_gpu=given.gpu),
        run_config=RunConfig(
            storage_path=str(store / ".ray"), failure_config=FailureConfig(max_failures=given.restarts)
        ),
    ).fit()


if __name__ == "__main__":
    main()
