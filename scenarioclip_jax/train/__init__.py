"""The training run: state, step, loop, resume and what is logged."""
