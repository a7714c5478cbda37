"""What a task needs beside the graph: loss, metrics, the monitored figure, decoding and pictures of predictions."""
