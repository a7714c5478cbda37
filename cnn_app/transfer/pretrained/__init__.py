"""Published weights: where they are, what they are called, what they expect of the graph."""
