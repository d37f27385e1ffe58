"""Views and color on the accelerator: the only JAX in `data`."""
