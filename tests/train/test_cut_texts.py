"""What a run says of texts of its first batch that didn't fit."""

import dataclasses

import pytest

from scenarioclip_jax.data.pipeline import TrainingBatches
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.train.loop import describe_cut_texts
from tests.data.fake_scenes import SETTINGS, fake_scene


@pytest.mark.parametrize("packed", [False, True])
def test_the_level_and_its_longest_text_are_named(packed, tmp_path):
    tokenizer = train_tokenizer(["acting thing one on other"], tmp_path, vocab_size=300)
    action = "acting one on thing"  # 4 tokens beside bos and eos
    scenes = [fake_scene(i)._replace(action=action) for i in range(8)]

    def note(length):
        settings = SETTINGS.with_level("global", text_length=length)
        for level in ("object", "relation"):
            settings = settings.with_level(level, text_length=40)
        settings = dataclasses.replace(settings, text_row_tokens=48 if packed else 0)
        batches = TrainingBatches(scenes, tokenizer, settings, range(SETTINGS.packing_groups))
        batch = batches(0)[0]
        assert (batch.scenes.text_rows is not None) == packed
        return describe_cut_texts(batch, settings, 77)

    whole = len(tokenizer.encode_ragged([action], 40)[0][0])
    assert note(whole) == ""
    said = note(whole - 1)
    assert f"cut to fit: scene texts have up to {whole} tokens and config.data.levels.scene" in said
    assert f".text_length={whole - 1} (config.model.text.max_length=77" in said
    assert "object" not in said
