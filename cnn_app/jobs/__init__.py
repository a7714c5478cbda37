"""The main jobs as functions: what the commands, recipes and Python call. Nothing here prints."""
