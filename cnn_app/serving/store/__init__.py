"""What lies beside TF Serving: base paths with versions and labels, its configuration. Light to import."""

from cnn_app.serving.store.base_path import NAME, WARMUP, label, labels, prune, publish, rollback, versions

__all__ = ["NAME", "WARMUP", "label", "labels", "prune", "publish", "rollback", "versions"]
