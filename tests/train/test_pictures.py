"""first_batch.png: what the towers see, also of scenes that have no text."""

import numpy as np
import pytest

from scenarioclip_jax.data.device.views import ViewSettings
from scenarioclip_jax.data.pipeline import TrainingBatches
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.train import pictures
from tests.data.fake_scenes import SETTINGS, fake_scene


@pytest.mark.slow
@pytest.mark.parametrize("untold", [0, 4, 8])
def test_scenes_with_and_without_a_text_are_shown(untold, tmp_path, monkeypatch):
    drawn, grid = [], pictures.picture_grid
    monkeypatch.setattr(pictures, "picture_grid", lambda rows: drawn.append(rows) or grid(rows))
    scenes = [fake_scene(i)._replace(action="" if i < untold else "acting") for i in range(8)]
    tokenizer = train_tokenizer(["acting thing one on other"], tmp_path, vocab_size=300)
    batches = TrainingBatches(scenes, tokenizer, SETTINGS, range(SETTINGS.packing_groups))
    pictures.write_first_batch(tmp_path, batches(0)[0], ViewSettings(), tokenizer)
    (rows,) = drawn
    assert len(rows) == pictures.SCENES
    texts = {text for text, _ in rows}
    assert texts <= ({"acting"} if untold < 8 else set()) | ({"(no text)"} if untold else set())
    assert all(np.max(row[0][0]) > 0 for _, row in rows)
    assert (tmp_path / "first_batch.png").exists()
