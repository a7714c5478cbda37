"""A local server that answers as TF Serving does, by REST and gRPC.

`run` starts it. What a model takes and gives is known to its task and input alone.
"""
