"""The peer of the benchmarks: the published algorithm as a PyTorch user would write it on Hugging Face's CLIP.

Written to be a fair one: fused attention and optimizer, frozen parts without gradients, a teacher that runs
only the towers whose embeddings are distilled, texts padded to the longest of the batch. tests/benchmarks
holds it to the published implementation's figures.
"""
