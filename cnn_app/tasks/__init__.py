"""What a task needs beside the graph: loss, metrics, the monitored figure, decoding and images of predictions."""
