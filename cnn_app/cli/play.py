import click

from cnn_app.cli.options import Place, json_option


@click.command()
@click.argument("artifact", type=Place(exists=True))
@click.option("--episodes", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many to play.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
              help="Of the first episode; the others count on.")  # fmt: skip
@click.option("--out", type=Place(dir_okay=False), help="An animated GIF of the first episode.")
@json_option
def play(artifact, episodes, seed, out, as_json):
    """Let the network of ARTIFACT act in the environment that it was trained in, always by the best value.

    \b
    cnn-app play saved_models/cartpole --out episode.gif
    """
    from dataclasses import asdict

    from cnn_app.cli import view
    from cnn_app.jobs.play import played

    found = played(artifact, episodes, seed, out)
    rows = [(str(one.seed), f"{one.total:g}", f"{one.length:,}") for one in found]
    mean = sum(one.total for one in found) / len(found)
    if as_json:
        return view.echo_json({"return": mean, "episodes": [asdict(one) for one in found]})
    view.table(["seed", ">return", ">steps"], rows, f"mean return {mean:g} of {len(found)} episodes")
