"""What `train` and `finetune` do once a job is planned."""

from cnn_app.cli import view
from cnn_app.inputs import conversion


def carry_out(job, out, *, resume, as_json, dry_run=False, overfit_batch=False):
    """Run the job, or only look at it, and print what came out."""
    from cnn_app.artifacts import ModelDir
    from cnn_app.jobs import rehearsal, train

    if dry_run:
        plan = rehearsal.dry_run(job)
        return view.echo_json(plan) if as_json else view.table(["", "dry run"], map(_row, plan.items()))
    if overfit_batch:
        with view.training(1) as watch:
            logs = rehearsal.memorise(job, watch)
        text = f"memorised {logs['n']} {job.task.input.plural} in {logs['steps']} steps: loss {logs['loss']:.3g}"
        return view.echo_json(logs) if as_json else view.say(text)
    if job.dataset.skipped:
        view.say(f"left out {len(job.dataset.skipped)}: " + "; ".join(job.dataset.skipped[:5]), err=True)
    names = (name for split in job.dataset.distinct().values() for name in split.names)
    if told := conversion.told(names):
        view.say(told, err=True)
    with view.training(job.schedule.epochs, job.schedule.batch, job.task.input.plural) as watch:
        card = train.run(job, ModelDir(out), resume=resume, watch=watch)
    view.echo(card.metrics, trained(out, card, job.task), as_json)


def trained(out, card, task):
    """The line that a training ends with."""
    from cnn_app.jobs.train import summary

    return f"{out}: epoch {card.metrics['epoch']} kept, {summary(task, card.metrics['test'])}"


def _row(item):
    name, value = item
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_short(part)}" for key, part in value.items())
    return name, _short(value)


def _short(value):
    text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) < 100 else f"{text[:97]}..."
