"""Images and texts in, embeddings out, each computed once."""
