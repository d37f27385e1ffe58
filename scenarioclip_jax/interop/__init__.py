"""Imports and exports weights and folders of Hugging Face and PyTorch."""
