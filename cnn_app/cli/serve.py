import click

FILE = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="DIR...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Others than this machine need a key and TLS.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="Of REST and the page.")
@click.option("--socket", type=click.Path(dir_okay=False), metavar="FILE",
              help="A UNIX socket for REST in the place of host and port, such as for a side-car.")  # fmt: skip
@click.option("--grpc-port", type=click.IntRange(-1, 65535), default=8500, show_default=True, help="-1: no gRPC.")
@click.option("--api-key-file", type=FILE, help="Holds the key; CNN_APP_API_KEY in the environment comes first.")
@click.option("--tls-cert", type=FILE, help="Certificate chain as PEM.")
@click.option("--tls-key", type=FILE, help="Its private key as PEM.")
@click.option(
    "--batch", type=click.IntRange(0), default=64, show_default=True, help="Most records at once; 0: no batching."
)
@click.option(
    "--batch-delay", type=click.FloatRange(0), default=0, show_default=True, help="Milliseconds to wait for more."
)
@click.option("--queue", type=click.IntRange(1), default=1024, show_default=True, help="Records that may wait.")
@click.option("--max-body", type=click.IntRange(1), default=32, show_default=True, help="MiB of a request.")
@click.option(
    "--max-in-flight", type=click.IntRange(1), default=64, show_default=True, help="MiB of all requests at a time."
)
@click.option(
    "--max-connections", type=click.IntRange(1), default=512, show_default=True, help="Of REST; and calls of gRPC."
)
@click.option("--max-rows", type=click.IntRange(1), default=256, show_default=True, help="Records in a request.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=64, show_default=True, help="Millions, of an encoded image."
)
@click.option(
    "--max-decoding", type=click.IntRange(1), default=96, show_default=True, help="MiB of images, while decoded."
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=30, show_default=True, help="Seconds for an answer."
)
@click.option(
    "--poll", type=click.FloatRange(0.05), default=1, show_default=True, help="Seconds between looks for versions."
)
@click.option(
    "--load-timeout", type=click.FloatRange(1), default=120, show_default=True, help="Seconds until a version is ready."
)
@click.option("--origins", metavar="URL", multiple=True, help="Whose pages may ask, beside our own; may be repeated.")
@click.option("--trust", is_flag=True, help="Load SavedModels whose operators touch files, too.")
def serve(models, host, port, socket, grpc_port, api_key_file, tls_cert, tls_key, batch, batch_delay, queue, max_body,
          max_in_flight, max_connections, max_rows, max_pixels, max_decoding, timeout, poll, load_timeout,
          origins, trust):  # fmt: skip
    """Answer as TF Serving does, by REST and gRPC, on this machine; / is a page to try it.

    DIR is a model directory, a TF Serving base path, a .tflite or .onnx file, or a folder of several models;
    NAME=DIR gives it another name.

    \b
    cnn-app serve saved_models/photos
    cnn-app serve photos=saved_models/photos/mobile/photos-int8.tflite --grpc-port -1
    """
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.cli.options import api_key
    from cnn_app.errors import ServingError
    from cnn_app.quiet import quiet_tensorflow
    from cnn_app.serving.server.discovery import discover
    from cnn_app.serving.server.loading import Loading, suiting

    if bool(tls_cert) != bool(tls_key):
        raise ServingError("TLS needs both --tls-cert and --tls-key")
    if max_in_flight < max_body:
        raise ServingError(f"--max-in-flight {max_in_flight} leaves no room for --max-body {max_body}; raise it")
    found = discover(models)
    loading = suiting(Loading(load_timeout, trust), found)
    quiet_tensorflow()  # which takes as long
    try:
        from cnn_app.serving.server import run
    except ImportError as error:
        raise ServingError(f"{error}; pip install 'cnn-app[serve]'") from error
    from cnn_app.serving.server.batching import Batching
    from cnn_app.serving.server.service import Limits

    settings = run.Settings(
        host=host, port=port, grpc_port=None if grpc_port < 0 else grpc_port, key=api_key(api_key_file), poll_s=poll,
        tls=(Path(tls_cert), Path(tls_key)) if tls_cert else None, socket=Path(socket) if socket else None,
        batching=Batching(batch, batch_delay / 1e3),
        limits=Limits(body_bytes=max_body * 2**20, pixels=max_pixels * 10**6, rows=max_rows, queue=queue,
                      decoding_bytes=max_decoding * 2**20, answer_s=timeout,
                      in_flight_bytes=max_in_flight * 2**20, connections=max_connections),
        origins=origins,
    )  # fmt: skip

    def tell(addresses):
        if socket:
            told = f", gRPC at {addresses.grpc}" if addresses.grpc else ""
            return view.say(f"{', '.join(one.name for one in found)}: {addresses.rest}{told}")
        for one in found:
            view.say(f"{one.name}: {addresses.rest}/v1/models/{one.name}")
        view.say(f"page at {addresses.rest}/" + (f", gRPC at {addresses.grpc}" if addresses.grpc else ""))

    run.serve(found, settings.suited(loading()), tell)
