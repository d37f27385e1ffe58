"""Images and texts in, embeddings out; each is computed once."""
