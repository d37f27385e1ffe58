"""What the report at a run's end says of its pictures."""

from types import SimpleNamespace

import pytest

from scenarioclip_jax.evaluation.embed.embedder import Stopped
from scenarioclip_jax.train.report import write_report
from scenarioclip_jax.train.report_photos import gallery_scenes
from tests.train import tiny


@pytest.mark.parametrize(
    ("asked", "there", "shown"), [(0, 2000, 512), (3, 12, 3), (0, 12, 12), (900, 2000, 512)]
)
def test_the_gallery_is_what_was_recognized(asked, there, shown):
    config = SimpleNamespace(report=SimpleNamespace(scenes=asked))
    assert gallery_scenes(config, range(there)) == shown


def test_what_is_reported_is_the_test_split(tmp_path):
    asked = []

    def recognize(params, split, scenes):
        asked.append((split, scenes))
        raise Stopped

    watch = SimpleNamespace(
        progress=SimpleNamespace(say=lambda text: None),
        validator=SimpleNamespace(recognize=recognize),
    )
    data = SimpleNamespace(sets=[SimpleNamespace(test=object())])
    state = SimpleNamespace(weights=lambda: {"student": {}})
    world = SimpleNamespace(changes=[], state=state)
    with pytest.raises(Stopped):
        write_report(SimpleNamespace(config=tiny.config(tmp_path)), world, data, watch, tmp_path)
    assert asked == [("test", 16)]
