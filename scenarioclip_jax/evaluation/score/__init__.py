"""Embeddings in, scores with intervals out."""
