"""A local server that answers as TF Serving does, by REST and gRPC.

`run` starts it. What it knows of models and their data is in `adapter`.
"""
