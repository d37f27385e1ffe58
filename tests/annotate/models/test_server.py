import base64
import contextlib
import io
import json
import logging
import threading
import time

import pytest
from PIL import Image

from scenarioclip_jax.annotate.models import server as module
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.models.server import ServerCaptioner
from scenarioclip_jax.annotate.results import Caption, Cost, Failure
from scenarioclip_jax.annotate.settings import CaptionSettings
from tests.annotate.models.chat_server import ANSWER, Reply, serving
from tests.annotate.models.photos import broken, photo

WANTED = Caption("running", ("dog", "grass"), (("dog", "on", "grass"),), "A dog runs on grass.")


def captioner(*servers, patience=60.0, **changes):
    settings = {"model": "m", "concurrent": 4, "timeout": 20.0} | changes
    addresses = tuple(each if isinstance(each, str) else each.address for each in servers)
    return ServerCaptioner(CaptionSettings(endpoints=addresses, **settings), patience)


def answers(captioner, photos):
    found = list(captioner.caption(photos))
    assert len({each.id for each in found}) == len(found), "a photo has two answers"
    return {each.id: each.result for each in found}


def only(captioner):
    """The answer of a single photo."""
    (found,) = captioner.caption([photo()])
    return found


@pytest.fixture
def quick(monkeypatch):
    """Retries without much waiting."""
    import openai._base_client as client

    monkeypatch.setattr(client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(client, "MAX_RETRY_DELAY", 0.02)


def numbered(body):
    """Which photo a request is about: its width tells."""
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    return image_of(url).width


def image_of(url):
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_request_holds_the_photo_the_prompt_and_the_schema():
    with serving() as server:
        (found,) = captioner(server, max_side=50, max_tokens=77).caption([photo(size=(100, 40))])
    assert found == ("a", WANTED, Cost(300, 40))
    (body,) = server.requests
    assert body["model"] == "m"
    assert body["temperature"] == 0
    assert body["max_tokens"] == 77
    picture, text = body["messages"][0]["content"]
    assert image_of(picture["image_url"]["url"]).size == (50, 20)
    assert "at most 10 names" in text["text"]
    wanted = body["response_format"]["json_schema"]
    assert wanted["strict"] is True
    assert wanted["schema"]["properties"]["objects"]["maxItems"] == 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(f"```json\n{json.dumps(ANSWER)}\n```"), None),
        (Reply(finish="length"), "cut_off"),
        (Reply("I see a dog."), "not_json"),
        (Reply("[]"), "wrong_shape"),
        (Reply(""), "empty"),
        (Reply(finish="content_filter"), "refused"),
        (Reply(body={"object": "chat.completion", "choices": []}), "wrong_protocol"),
        (Reply(body=b"<html>Welcome</html>"), "wrong_protocol"),
        (Reply(body=b"hello", headers={"Content-Type": "text/plain"}), "wrong_protocol"),
        (Reply("too large", 413), "http_413"),
        (Reply("too many tokens", 400), "http_400"),
        (Reply("out of luck", 500), "http_500"),
        (Reply("slower", 429), "http_429"),
        (Reply(drop=True), "connection"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_a_server_says_is_an_answer_or_a_failure_of_a_kind(reply, kind):
    with serving(lambda *_: reply) as server:
        found = only(captioner(server)).result
        if kind is None:
            assert found == WANTED
        else:
            assert isinstance(found, Failure), found
            assert found.kind == kind, found
        if reply.status > 399:
            assert reply.text in found.detail
            assert server.address in found.detail


@pytest.mark.parametrize(
    "reply", [Reply("", 500), Reply("", 429), Reply("", 408), Reply(drop=True)]
)
@pytest.mark.usefixtures("quick")
def test_a_request_that_failed_is_tried_again(reply):
    with serving(lambda _, number: Reply() if number == 2 else reply) as server:
        assert only(captioner(server)).result == WANTED
        assert len(server.requests) == 3


@pytest.mark.usefixtures("quick")
def test_the_server_says_how_long_to_wait():
    slow = Reply("", 429, headers={"Retry-After": "1"})
    with serving(lambda _, number: Reply() if number else slow) as server:
        assert only(captioner(server)).result == WANTED
        assert server.times[1] - server.times[0] >= 0.95


@pytest.mark.usefixtures("quick")
def test_a_late_answer_is_a_failure():
    with serving(lambda *_: Reply(wait=1.0)) as server:
        assert only(captioner(server, timeout=0.2)).result.kind == "timeout"
        assert len(server.requests) == 4, "it asks no second time after the client's retries"


def test_a_server_that_takes_no_schema_is_asked_without_and_that_is_said_once(caplog):
    def decide(body, _):
        return Reply("no json_schema here", 400) if "response_format" in body else Reply()

    with serving(decide) as server, caplog.at_level(logging.WARNING):
        found = answers(captioner(server, concurrent=1), [photo(str(i)) for i in range(4)])
        assert set(found.values()) == {WANTED}
        assert len(server.requests) == 5, "it is asked with the schema once"
    assert sum("no JSON schema" in record.getMessage() for record in caplog.records) == 1


def test_a_photo_that_is_refused_does_not_take_the_schema_away():
    def decide(body, _):
        return Reply("bad photo", 400) if numbered(body) == 33 else Reply()

    with serving(decide) as server:
        photos = [photo("bad", (33, 8)), photo("good", (44, 8))]
        found = answers(captioner(server, concurrent=1), photos)
        assert found["bad"].kind == "http_400"
        assert found["good"] == WANTED
        assert "response_format" in server.requests[-1]


def test_a_broken_photo_is_a_failure_and_the_others_go_on():
    with serving() as server:
        found = answers(captioner(server), [photo("1"), broken("2"), photo("3")])
    assert found["1"] == found["3"] == WANTED
    assert found["2"] == Failure("unreadable_photo", "OSError: image file is truncated")


def test_only_as_many_photos_are_read_as_requests_are_on_their_way():
    read = 0
    most = 0
    done = 0

    def photos():
        nonlocal read
        for i in range(40):
            read += 1
            yield photo(str(i), (32, 24))

    with (
        serving(lambda *_: Reply(wait=0.02)) as server,
        serving(lambda *_: Reply(wait=0.02)) as other,
    ):
        for _ in captioner(server, other, concurrent=3).caption(photos()):
            most = max(most, read - done)
            done += 1
    assert done == 40
    assert most <= 2 * 3 + 1
    assert server.most <= 3
    assert other.most <= 3
    assert min(len(server.requests), len(other.requests)) > 5, "both servers work"
    assert server.most == 3, "requests run at the same time"


def test_answers_come_as_they_arrive():
    slow = threading.Event()

    def decide(body, _):
        if numbered(body) == 33:
            slow.wait(20)
        return Reply()

    with serving(decide) as server:
        found = captioner(server).caption([photo("slow", (33, 8)), photo("quick", (44, 8))])
        assert next(found).id == "quick"
        slow.set()
        assert next(found).id == "slow"


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_server_that_goes_away_is_left_out_and_comes_back(monkeypatch):
    from scenarioclip_jax.annotate.models import endpoints

    monkeypatch.setattr(endpoints, "_FIRST_LOOK", 0.05)
    monkeypatch.setattr(endpoints, "_LAST_LOOK", 0.05)
    with serving(lambda *_: Reply(wait=0.01)) as good, serving(lambda *_: Reply(wait=0.01)) as bad:
        done, seen_away = 0, 0
        for each in captioner(good, bad).caption(photo(str(i), (32, 24)) for i in range(200)):
            assert each.result == WANTED, each
            done += 1
            if done == 20:
                bad.away = True
            if done == 100:
                seen_away = len(bad.requests)
                time.sleep(0.2)
                assert len(bad.requests) == seen_away, "it is asked though it is away"
                bad.away = False
                time.sleep(0.3)
        assert done == 200
        assert len(bad.requests) > seen_away + 10, "it came back and isn't asked"


@pytest.mark.usefixtures("quick")
def test_a_server_that_fails_everything_gets_little_to_spoil():
    broken = Reply("broken", 500, wait=0.02)
    with serving(lambda *_: broken) as bad, serving(lambda *_: Reply(wait=0.01)) as good:
        found = answers(captioner(bad, good), [photo(str(i), (32, 24)) for i in range(60)])
    assert set(found.values()) == {WANTED}, "the other server could do it"
    assert len(good.requests) == 60
    assert max(bad.crowd[:16]) > 1
    assert max(bad.crowd[32:], default=0) <= 1, "it has several, though it fails them all"


@pytest.mark.usefixtures("quick")
def test_when_all_servers_are_away_for_long_it_ends_with_their_addresses(monkeypatch):
    from scenarioclip_jax.annotate.models import endpoints

    monkeypatch.setattr(endpoints, "_FIRST_LOOK", 0.05)
    monkeypatch.setattr(endpoints, "_LAST_LOOK", 0.05)
    with serving() as one, serving() as two:
        found = captioner(one, two, patience=0.5).caption(photo(str(i)) for i in range(100))
        next(found)
        one.away = two.away = True
        start = time.monotonic()
        with pytest.raises(ModelError, match="start one again") as error:
            list(found)
        assert time.monotonic() - start < 15
    assert one.address in str(error.value)
    assert two.address in str(error.value)


@pytest.mark.usefixtures("quick")
def test_all_servers_may_be_away_for_a_while(monkeypatch):
    from scenarioclip_jax.annotate.models import endpoints

    monkeypatch.setattr(endpoints, "_FIRST_LOOK", 0.05)
    monkeypatch.setattr(endpoints, "_LAST_LOOK", 0.05)
    with serving() as server:
        back = threading.Timer(1.0, lambda: setattr(server, "away", False))
        found = captioner(server).caption(photo(str(i)) for i in range(50))
        first = next(found)
        server.away = True
        back.start()
        rest = list(found)
        back.join()
    assert {each.result for each in (first, *rest)} == {WANTED}
    assert len(rest) == 49


@pytest.mark.usefixtures("quick")
def test_servers_that_fail_everything_end_the_run():
    with (
        serving(lambda *_: Reply("engine is dead", 500)) as server,
        pytest.raises(ModelError, match="engine is dead"),
    ):
        list(captioner(server).caption(photo(str(i)) for i in range(100)))
    assert len(server.requests) < 150


def test_nobody_at_the_address_is_said_at_once():
    with serving() as server:
        address = server.address
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"caption\.endpoints") as error:
        only(captioner(address))
    assert address in str(error.value)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "key_variable"), (403, "key_variable"), (404, "caption.model")]
)
def test_what_is_wrong_with_every_request_ends_the_run(status, remedy):
    with (
        serving(lambda *_: Reply("no", status)) as server,
        pytest.raises(ModelError, match=remedy) as error,
    ):
        only(captioner(server))
    assert server.address in str(error.value)


def test_the_key_is_sent_and_never_shown(monkeypatch, caplog):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    with serving() as server:
        assert only(captioner(server, key_variable="SOME_KEY")).result == WANTED
        assert server.keys == ["Bearer sk-very-secret"]
    with (
        caplog.at_level(logging.DEBUG, "absl"),
        serving(lambda *_: Reply("sk-very-secret is wrong", 401)) as server,
        pytest.raises(ModelError, match="SOME_KEY") as error,
    ):
        only(captioner(server, key_variable="SOME_KEY"))
    assert "secret" not in str(error.value)
    with serving(lambda *_: Reply("sk-very-secret is bad", 400)) as server:
        assert "secret" not in only(captioner(server, key_variable="SOME_KEY")).result.detail
    assert "secret" not in caplog.text


def test_a_key_that_is_not_there_is_said_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ModelError, match="SOME_KEY"):
        captioner("http://127.0.0.1:1/v1", key_variable="SOME_KEY")


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=r"openai.*pip install 'scenarioclip_jax\[annotate\]'"):
        captioner("http://127.0.0.1:1/v1")


def test_stopping_halfway_does_not_wait_for_answers():
    with serving(lambda _, number: Reply(wait=10.0 if number else 0.0)) as server:
        found = captioner(server).caption(photo(str(i)) for i in range(20))
        next(found)
        start = time.monotonic()
        found.close()
        assert time.monotonic() - start < 3
        names = [thread.name for thread in threading.enumerate()]
        assert "requests" not in names


def test_an_error_of_the_photos_reaches_the_caller():
    def photos():
        yield photo("1")
        raise RuntimeError("disk is gone")

    with serving() as server, contextlib.suppress(StopIteration):
        with pytest.raises(RuntimeError, match="disk is gone"):
            list(captioner(server).caption(photos()))


def test_photos_are_jpeg():
    url = module.data_url(photo(size=(20, 10)).open())
    assert image_of(url).format == "JPEG"
    assert image_of(url).size == (20, 10)
