"""What stands between an exported model and those who ask it: TF Serving's store and configuration."""
