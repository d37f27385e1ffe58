"""What the report at a run's end says of its pictures."""

from types import SimpleNamespace

import pytest

from scenarioclip_jax.train.report import _gallery_scenes


@pytest.mark.parametrize(
    ("asked", "there", "shown"), [(0, 2000, 512), (3, 12, 3), (0, 12, 12), (900, 2000, 512)]
)
def test_the_gallery_is_what_was_recognized(asked, there, shown):
    config = SimpleNamespace(report=SimpleNamespace(scenes=asked))
    assert _gallery_scenes(config, range(there)) == shown
