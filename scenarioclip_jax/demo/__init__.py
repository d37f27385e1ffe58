"""A model as a service: photos and texts in, scene graphs, embeddings and found photos out."""
