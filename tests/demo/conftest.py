"""A tiny model with an album of two photos."""

import pytest
from PIL import Image

from scenarioclip_jax.search.command import main as search
from tests.evaluation import tiny_model


@pytest.fixture(scope="session")
def album(small_data, tmp_path_factory):
    """A folder with the model in `model`, photos in `photos`, and their index in `a`."""
    folder = tmp_path_factory.mktemp("album")
    model = tiny_model.write_model(folder / "model", small_data)
    (folder / "photos").mkdir()
    for color in ("red", "blue"):
        Image.new("RGB", (40, 30), color).save(folder / "photos" / f"{color}.png")
    search(
        ["index", f"--model={model}", f"--photos={folder / 'photos'}", f"--output={folder / 'a'}"]
    )
    return folder
