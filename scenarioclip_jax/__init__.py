"""ScenarioCLIP in JAX. `scenarioclip_jax.load(path)` opens a model for use; see `loading.load`."""

__all__ = ["load"]


def __getattr__(name: str):
    # Imported on demand, because data-loading workers import this package and must start without JAX.
    if name == "load":
        from scenarioclip_jax.loading import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("scenarioclip_jax")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
