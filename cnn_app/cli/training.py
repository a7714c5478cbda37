"""What `train` and `finetune` do once a job is planned."""

from cnn_app.artifacts import ModelDir
from cnn_app.cli import view


def carry_out(job, out, *, resume, overwrite, as_json, dry_run=False, overfit_batch=False):
    """Run the job, or only look at it, and print what came out."""
    import click

    from cnn_app.training import run

    if dry_run:
        plan = run.dry_run(job)
        return view.echo_json(plan) if as_json else view.table(["", "dry run"], plan.items())
    if overfit_batch:
        with view.training(1) as watch:
            logs = run.overfit(job, watch)
        text = f"memorised {logs['images']} images in {logs['steps']} steps: loss {logs['loss']:.3g}"
        return view.echo_json(logs) if as_json else click.echo(text)
    if job.dataset.skipped:
        click.echo(f"left out {len(job.dataset.skipped)}: " + "; ".join(job.dataset.skipped[:5]), err=True)
    with view.training(job.schedule.epochs) as watch:
        card = run.run(job, ModelDir(out), resume=resume, overwrite=overwrite, watch=watch)
    if as_json:
        return view.echo_json(card.metrics)
    test = card.metrics["test"]
    figures = f"test top-1 {test['top1']:.4f}, top-5 {test['top5']:.4f} of {test['n']:,}"
    click.echo(f"{out}: epoch {card.metrics['epoch']} kept, {figures}")
