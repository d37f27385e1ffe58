"""Language models that judge statements: behind servers, and in process."""

import json
import re

import pytest

from scenarioclip_jax.annotate.models.local_captioner import LocalCaptioner
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.results import Cost, Failure
from scenarioclip_jax.annotate.settings import CaptionSettings, VerifySettings
from tests.annotate.models import tiny
from tests.annotate.models.chat_server import Reply, serving
from tests.annotate.models.photos import broken, photo
from tests.annotate.models.test_local_captioner import says
from tests.annotate.models.test_server import captioner, numbered, quick  # noqa: F401  (a fixture)

TEXTS = [("dog", "on", "mat"), ("mat", "on", "dog"), ("cat", "on", "mat")]
WANTED = ["true", "false", "false"]


def asked(body):
    """The statements of a request, by number."""
    text = body["messages"][0]["content"][1]["text"]
    return {number: said for number, said in re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE)}


def answer(body, true=("dog on mat",)):
    return json.dumps({n: "yes" if text in true else "no" for n, text in asked(body).items()})


def judged(model, requests, **settings):
    found = list(model.verify(requests, VerifySettings(**settings)))
    assert len({each.id for each in found}) == len(found), "a photo has two answers"
    return {each.id: each for each in found}


def only(model, texts=TEXTS, **settings):
    return judged(model, [(photo(), texts)], **settings)["a"].result


def test_a_server_is_shown_the_photo_and_all_statements_and_their_schema():
    with serving(lambda body, _: Reply(answer(body))) as server:
        found = judged(captioner(server, max_side=50), [(photo(size=(100, 40)), TEXTS)])
        assert found["a"] == ("a", WANTED, Cost(300, 40))
        (body,) = server.requests
    assert numbered(body) == 50
    assert asked(body) == {"1": "dog on mat", "2": "mat on dog", "3": "cat on mat"}
    wanted = body["response_format"]["json_schema"]["schema"]
    assert wanted["required"] == ["1", "2", "3"]


def test_many_statements_are_asked_in_parts_and_put_together_in_their_order():
    texts = [("dog", "near", f"tree {number}") for number in range(10)]
    true = {"dog near tree 3", "dog near tree 8"}
    with serving(lambda body, n: Reply(answer(body, true), wait=0.1 if n == 0 else 0)) as server:
        found = judged(captioner(server), [(photo(), texts)], statements=4)["a"]
        assert sorted(len(asked(body)) for body in server.requests) == [2, 4, 4]
    assert found.result == ["true" if number in (3, 8) else "false" for number in range(10)]
    assert found.cost == Cost(3 * 300, 3 * 40)


def test_a_photo_without_statements_is_not_asked_about():
    with serving(lambda body, _: Reply(answer(body))) as server:
        requests = [(photo("1"), []), (photo("2"), TEXTS), (photo("3"), [])]
        found = judged(captioner(server), requests)
        assert len(server.requests) == 1
    assert {id: each.result for id, each in found.items()} == {"1": [], "2": WANTED, "3": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (Reply('```json\n{"1": "yes", "2": "no", "3": "no"}\n```'), WANTED),
        (Reply('{"1": "yes", "2": "unsure"}'), ["true", "unsure", "unanswered"]),
        (Reply('{"1": "yes", "2": "no", "3": "no"}', finish="length"), "cut_off"),
        (Reply("They are false."), "not_json"),
        (Reply('{"caption": "A dog."}'), "no_verdict"),
        (Reply(""), "empty"),
        (Reply(finish="content_filter"), "refused"),
        (Reply(body={"object": "chat.completion", "choices": []}), "wrong_protocol"),
        (Reply("too many tokens", 400), "http_400"),
        (Reply("out of luck", 500), "http_500"),
        (Reply(drop=True), "connection"),
        (Reply(wait=1.0), "timeout"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_a_server_says_is_a_verdict_or_a_failure_of_a_kind(reply, wanted):
    with serving(lambda *_: reply) as server:
        found = only(captioner(server, timeout=0.2 if reply.wait else 20.0))
    if isinstance(wanted, str):
        assert isinstance(found, Failure), found
        assert found.kind == wanted
    else:
        assert found == wanted


def test_if_one_part_fails_all_of_the_photo_does_and_the_others_go_on():
    def decide(body, _):
        fails = numbered(body) == 33 and "mat on dog" in asked(body).values()
        return Reply("No!" if fails else answer(body))

    with serving(decide) as server:
        requests = [(photo("bad", (33, 8)), TEXTS), (broken("broken"), TEXTS), (photo("a"), TEXTS)]
        found = judged(captioner(server), requests, statements=1)
    assert found["bad"].result.kind == "not_json"
    assert found["broken"].result.kind == "unreadable_photo"
    assert found["a"].result == WANTED


def test_errors_name_the_settings_of_the_stage(monkeypatch):
    from scenarioclip_jax.annotate.models.server import ServerCaptioner

    def model(address, **more):
        settings = CaptionSettings(model="m", endpoints=(address,), **more)
        return ServerCaptioner(settings, section="verify")

    with serving(lambda *_: Reply("no", 404)) as server:
        with pytest.raises(ModelError, match=r"verify\.model"):
            only(model(server.address))
        address = server.address
    with pytest.raises(ModelError, match=r"verify\.endpoints"):
        only(model(address))
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ModelError, match=r"verify\.key_variable"):
        model(address, key_variable="SOME_KEY")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.llava(tmp_path_factory.mktemp("verifiers") / "llava")


def test_the_real_classes_are_asked_statement_by_statement(folder):
    model = LocalCaptioner(CaptionSettings(model=folder, batch=2, max_tokens=5))
    found = judged(model, [(photo("1"), TEXTS), (photo("2"), TEXTS[:1])], prompt="{statements}?")
    # Random weights write until they are cut off. <s>, four parts of the photo, the prompt's letters.
    assert {each.result.kind for each in found.values()} == {"cut_off"}
    assert found["2"].cost == Cost(5 + len("1. dog on mat?"), 5)


def test_a_model_in_process_judges_several_photos_at_a_time(folder):
    model = LocalCaptioner(CaptionSettings(model=folder, batch=2, max_tokens=500))
    first, second = '{"1": "yes", "2": "no"}</s>', 'So: {"1": "no"}</s>'
    prompts = says(model, first, second, "I don't know</s>")
    requests = [(photo("1"), TEXTS), (broken("2"), TEXTS), (photo("3"), TEXTS[:1])]
    found = judged(model, requests, statements=2, prompt="{statements}?")
    assert found["1"].result == WANTED
    assert found["2"].result.kind == "unreadable_photo"
    assert found["3"].result.kind == "not_json"
    text = model._tokenizer.decode(prompts[0]["input_ids"][1])
    assert "1. cat on mat?" in text
