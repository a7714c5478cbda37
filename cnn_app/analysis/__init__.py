"""Complexity, receptive fields, guidelines and pictures of networks."""
