import json

import pytest

from scenarioclip_jax.annotate.models.local_captioner import LocalCaptioner
from scenarioclip_jax.annotate.models.photos import shrink
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Caption, Cost, Failure
from scenarioclip_jax.annotate.settings import CaptionSettings
from tests.annotate.models import tiny
from tests.annotate.models.chat_server import ANSWER
from tests.annotate.models.photos import broken, photo

WANTED = Caption("running", ("dog", "grass"), (("dog", "on", "grass"),), "A dog runs on grass.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.llava(tmp_path_factory.mktemp("captioners") / "llava")


@pytest.fixture
def make(folder):
    def make(**settings):
        defaults = {"batch": 2, "max_tokens": 6, "prompt": "What is it?"}
        return LocalCaptioner(CaptionSettings(model=folder, **defaults | settings))

    return make


def says(captioner, *texts):
    """Has the network write these texts, one a photo."""
    import torch

    asked, rest = [], list(texts)

    def generate(**inputs):
        asked.append(inputs)
        prompts = inputs["input_ids"]
        tokens = captioner._tokenizer
        rows = [tokens(rest.pop(0), add_special_tokens=False)["input_ids"] for _ in prompts]
        longest = max(map(len, rows))
        padded = [row + [inputs["pad_token_id"]] * (longest - len(row)) for row in rows]
        return torch.cat([prompts, torch.tensor(padded)], dim=1)

    captioner._model.generate = generate
    return asked


def test_the_real_classes_write_until_they_are_cut_off(make):
    captioner = make()
    assert type(captioner._model).__name__ == "LlavaForConditionalGeneration"
    photos = [photo(str(i), size, i) for i, size in enumerate([(64, 48), (30, 60), (50, 50)])]
    found = list(captioner.caption(photos))
    assert [answer.id for answer in found] == ["0", "1", "2"]
    for answer in found:
        assert answer.result.kind == "cut_off"
        # <s>, four parts of the photo, and the prompt's letters.
        assert answer.cost == Cost(5 + len("What is it?"), 6)
    # Greedy, and not dependent on what else is in the batch.
    alone = [answer for each in photos for answer in make(batch=1).caption([each])]
    assert alone == found


def test_an_answer_ends_with_its_mark_and_what_fills_it_up_is_left_out(make):
    captioner = make(max_tokens=500)
    answer = json.dumps(ANSWER)
    asked = says(captioner, f"{answer}</s>", "I see nothing.</s>", answer)
    found = {each.id: each for each in captioner.caption(photo(str(i)) for i in range(3))}
    assert found["0"].result == WANTED
    assert found["0"].cost.written == len(answer) + 1
    assert found["1"].result.kind == "not_json"
    assert found["1"].cost.written == len("I see nothing.") + 1
    assert found["2"].result.kind == "cut_off", "it doesn't end"
    assert [len(inputs["input_ids"]) for inputs in asked] == [2, 1]
    assert asked[0]["do_sample"] is False
    assert asked[0]["max_new_tokens"] == 500
    text = captioner._tokenizer.decode(asked[0]["input_ids"][0])
    assert text.count("<s>") == 1, "the mark of the beginning is there twice"
    assert text.startswith("<s><image>")
    assert "What is it?" in text


def test_it_computes_in_bfloat16_where_it_is_told_to(make):
    import torch

    captioner = make()
    assert captioner._dtype == torch.float32, "on a CPU"
    captioner._model.to(torch.bfloat16)
    captioner._dtype = torch.bfloat16
    (found,) = captioner.caption([photo()])
    assert found.result.kind == "cut_off"


def test_the_limits_of_the_settings_count(make):
    captioner = make(max_objects=1, max_relations=0)
    says(captioner, f"{json.dumps(ANSWER)}</s>")
    (found,) = captioner.caption([photo()])
    assert found.result.objects == ("dog",)
    assert found.result.relations == ()


def test_shorter_prompts_are_filled_up_before_them(make):
    captioner = make()
    inputs = captioner._processor(
        text=["<image>a", "<image>abc"],
        images=[[photo().open()], [photo().open()]],
        padding=True,
        return_tensors="pt",
    )
    assert inputs["attention_mask"][0].tolist()[:2] == [0, 0]
    assert inputs["attention_mask"][0, -1] == 1


def test_a_model_whose_prompts_differ_in_length_writes_the_same_in_batches(tmp_path):
    pytest.importorskip("torchvision", reason="the processor of Qwen3-VL needs torchvision")
    folder = tiny.qwen3_vl(tmp_path / "a")

    def answers(batch):
        settings = CaptionSettings(model=folder, batch=batch, max_tokens=6, prompt="What is it?")
        return list(LocalCaptioner(settings).caption(photos))

    photos = [photo(str(i), size, i) for i, size in enumerate([(64, 48), (128, 128), (40, 200)])]
    together = answers(3)
    assert together == answers(1)
    assert len({answer.cost.read for answer in together}) == 3
    assert len({answer.result.detail for answer in together}) > 1, "the photos make no difference"


def test_photos_are_made_smaller_and_never_larger():
    assert shrink(photo(size=(400, 100)).open(), 200).size == (200, 50)
    assert shrink(photo(size=(100, 400)).open(), 200).size == (50, 200)
    assert shrink(photo(size=(100, 40)).open(), 200).size == (100, 40)
    assert shrink(photo(size=(900, 1)).open(), 200).size == (200, 1)


def test_a_broken_photo_is_a_failure_and_the_others_go_on(make):
    found = {a.id: a.result for a in make().caption([photo("1"), broken("2"), photo("3")])}
    assert found["2"] == Failure("unreadable_photo", "OSError: image file is truncated")
    assert found["1"].kind == found["3"].kind == "cut_off"


def test_a_model_without_a_chat_template_is_said(tmp_path):
    with pytest.raises(ModelError, match="chat template"):
        LocalCaptioner(CaptionSettings(model=tiny.llava(tmp_path / "a", template=False)))
