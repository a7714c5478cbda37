"""Models behind TF Serving's protocol: the artefact it loads, a local server that speaks as it does, and a client."""

from cnn_app.serving.client import Answer, Client

__all__ = ["Answer", "Client"]
