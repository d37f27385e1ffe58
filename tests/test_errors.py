"""Errors for users share one base, so that every command shows them without a stack trace."""

import importlib
import inspect
import pkgutil

import scenarioclip_jax
from scenarioclip_jax.errors import ReadableError

# Raised and handled within the package, or by what it is part of.
INNER = {
    "scenarioclip_jax.annotate.video_frames.VideoError",  # about one video, which is listed
    "scenarioclip_jax.data.image_files.ImageFileError",  # about one image, which callers list
    "scenarioclip_jax.data.build.metadata_files._FormatError",
    "scenarioclip_jax.data.build.photo_folders.PhotoError",  # becomes a line in the list of problems
    "scenarioclip_jax.evaluation.image_files.RefusedError",
    "scenarioclip_jax.evaluation.plain_pickle._NamedError",
    "scenarioclip_jax.train.ahead.LastBatchError",  # carries the error to show
}


def errors():
    """Every exception class ending in Error that the package defines, by its whole name."""
    for module in pkgutil.walk_packages(scenarioclip_jax.__path__, "scenarioclip_jax."):
        if "pytorch" in module.name or module.name.endswith("__main__"):
            continue
        for name, value in inspect.getmembers(
            importlib.import_module(module.name), inspect.isclass
        ):
            if name.endswith("Error") and value.__module__ == module.name:
                yield f"{module.name}.{name}", value


def test_errors_for_users_share_one_base():
    found = dict(errors())
    assert len(found) > 12
    others = {name for name, error in found.items() if not issubclass(error, ReadableError)}
    assert others - {"scenarioclip_jax.errors.ReadableError"} == INNER
