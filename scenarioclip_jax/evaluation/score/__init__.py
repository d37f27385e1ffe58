"""Embeddings in, figures with intervals out."""
