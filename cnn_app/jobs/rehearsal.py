"""A job tried before it is run: a step of it, or a batch that is learned by heart. Nothing is written."""

from __future__ import annotations

from cnn_app import tasks
from cnn_app.data import pipeline
from cnn_app.errors import TrainingError
from cnn_app.jobs.train import Job
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.training import engine


def dry_run(job: Job) -> dict:
    """One training step and one validation batch, nothing written: what a run would be."""
    train_split = job.dataset.splits["train"]
    stepper = engine.stepper(job.model, job.task, train_split, job.schedule, job.freeze, devices=job.devices,
                             teacher=job.teacher)  # fmt: skip
    stream = job.stream
    inputs, targets = next(stream.batches(epoch=0))
    stepper.train(inputs, targets, job.schedule.lr)
    (logs,) = stepper.read()
    stepper.sync()
    inputs, _ = next(pipeline.arrays(job.dataset.splits["val"], job.schedule.batch))
    KerasRuntime(job.task.deployed(job.model)).run(inputs)
    return {
        "network": job.architecture,
        "parameters": job.model.count_params(),
        "input": tasks.facts(job.task)["input"],
        "classes": len(job.task.labels),
        "records": job.dataset.counts(),
        "skipped": list(job.dataset.skipped),
        "steps_per_epoch": stream.steps,
        "steps": stream.steps * job.schedule.epochs,
        "first_loss": logs["loss"],
    }


def memorise(job: Job, watch: engine.Watch | None = None) -> dict:
    """Learn one batch only, or say that it could not be done."""
    logs = engine.memorise(job.model, job.task, job.dataset, job.schedule, job.freeze, watch, job.devices)
    metric = job.task.batch_metrics[0]
    less = f"-{metric}" in job.task.monitor
    if logs[metric] > job.task.memorised if less else logs[metric] < job.task.memorised:
        raise TrainingError(
            f"{job.architecture} did not memorise {logs['n']} {job.task.input.plural} in {logs['steps']} steps: "
            f"{job.task.titles[metric]} {logs[metric]:.3f}, loss {logs['loss']:.3g}; try another --lr, or look at the "
            "data"
        )
    return logs
