"""What the pipeline knows of words: plural and numbered names, and which predicates exclude or imply others."""
