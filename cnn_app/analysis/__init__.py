"""Complexity, receptive fields, guidelines and images of networks."""
