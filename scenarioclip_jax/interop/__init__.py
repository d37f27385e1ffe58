"""Weights and folders of Hugging Face and PyTorch, in and out."""
