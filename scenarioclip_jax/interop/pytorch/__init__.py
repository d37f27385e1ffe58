"""Files that `to_pytorch` copies into its output. Nothing in this project imports them: they need PyTorch."""
