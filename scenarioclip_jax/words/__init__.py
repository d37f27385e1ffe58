"""What names and predicates mean: plural and numbered names, predicates that exclude or imply others.

It makes negatives and paraphrases of them, for annotation, reading workers and evaluation. It imports neither
models nor JAX.
"""
