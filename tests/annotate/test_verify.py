"""The stage `verify`: what the language model doesn't confirm is left out, counted, and known later."""

import json
import re
from collections import Counter

import pytest

from scenarioclip_jax.annotate.chain import Chain
from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.stages.verify import verdicts_of
from scenarioclip_jax.annotate.work import open_work
from scenarioclip_jax.data.embedded.scenes import make_scene
from scenarioclip_jax.data.embedded.write import SIZE
from tests.annotate.conftest import COUNT
from tests.annotate.models.chat_server import Reply, serving
from tests.annotate.test_pipeline import scenes, table, written


def outputs(work, stage):
    chain = Chain(open_work(work))
    try:
        return {
            id: chain.records[stage].read(links[stage].entry)["output"]
            for id, links in chain.links()
        }
    finally:
        chain.close()


def texts(output, field):
    return Counter(tuple(text) for relation in output["relations"] for text in relation[field])


def removed(work):
    return json.loads((work / "dataset/assemble.json").read_text())["removed"]


def asked(body):
    text = body["messages"][0]["content"][1]["text"]
    return dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))


def test_it_is_off_until_it_is_asked_for_and_what_was_done_without_it_counts_again(photos, capsys):
    photos.run()
    assert not (photos.work / "verify").exists()
    before, lines = (photos.work / "dataset/metadata.jsonl.gz").read_bytes(), written(photos.work)
    photos.run("--verify")
    assert "verify: 24 done" in capsys.readouterr().out
    more = written(photos.work) - lines
    assert {stage for stage, _ in more} == {"verify", "validate"}
    assert table(photos.work, capsys)["verify"] == [COUNT, 0, 0, 0, 0]
    assert main(["run", "--output", str(photos.work)]) == 0, "it stays on"
    assert "verify: 24 kept" in capsys.readouterr().out
    lines = written(photos.work)
    photos.run()  # by a --config without it
    assert "verify" not in table(photos.work, capsys)
    assert (photos.work / "dataset/metadata.jsonl.gz").read_bytes() == before
    assert written(photos.work) == lines
    photos.run(command="verify")
    assert table(photos.work, capsys)["validate"] == [COUNT, 0, 0, 0, 0]
    assert written(photos.work) == lines


def test_negatives_that_are_true_of_the_photo_go_and_are_counted_by_kind(photos):
    photos.configure(truth={"wrong": 0.5}, verify={"enabled": True})
    photos.run()
    made, kept = outputs(photos.work, "negatives"), outputs(photos.work, "verify")
    counts = Counter()
    for id, output in kept.items():
        verdicts = verdicts_of(output)
        for field, wanted in (("negatives", "false"), ("paraphrases", "true")):
            gone = texts(made[id], field) - texts(output, field)
            assert not texts(output, field) - texts(made[id], field)
            assert all(verdicts[text[:3]] == wanted for text in texts(output, field))
            assert all(verdicts[text[:3]] != wanted for text in gone)
            for text, number in gone.items():
                kind = f"negative_{text[3]}" if field == "negatives" else "paraphrase"
                counts[f"{kind}_{verdicts[text[:3]]}"] += number
    assert removed(photos.work).items() >= counts.items()
    assert counts["negative_swapped_true"] > 3
    assert counts["paraphrase_false"] > 3
    # Drawn scenes: a swapped negative says what was drawn, if the captioner had swapped it before.
    true = {
        (scene.id, subject, predicate, object_)
        for scene in (make_scene(3, number, SIZE) for number in range(COUNT))
        for subject, predicate, object_ in (
            (scene.objects[s].name, p, scene.objects[o].name) for s, p, o in scene.relations
        )
    }

    def wrong(found):
        return sum(
            (id.partition(".")[0], *text[:3]) in true
            for id, output in found.items()
            for text in texts(output, "negatives")
        )

    assert wrong(made) > 3
    assert wrong(kept) == 0


@pytest.mark.slow
def test_what_is_doubtful_goes_unless_it_shall_stay(photos, capsys):
    photos.configure(truth={"unsure": 0.3}, verify={"enabled": True})
    photos.run()
    doubtful = sum(n for name, n in removed(photos.work).items() if name.endswith("_unsure"))
    all_texts = sum(
        texts(output, field).total()
        for output in outputs(photos.work, "negatives").values()
        for field in ("negatives", "paraphrases")
    )
    assert 0.2 < doubtful / all_texts < 0.4
    photos.configure(truth={"unsure": 0.3}, verify={"enabled": True, "unsure": "keep"})
    lines = written(photos.work)
    photos.run()
    assert {stage for stage, _ in written(photos.work) - lines} == {"verify", "validate"}
    assert not any(name.endswith("_unsure") for name in removed(photos.work))


def verifying(server, **more):
    return {"enabled": True, "model": "m", "endpoints": [server.address]} | more


@pytest.mark.slow
def test_a_model_of_its_own_is_asked_and_its_failures_are_tried_again(photos, capsys):
    """The truth stands in for the other models."""

    def decide(body, number):
        return Reply("Well." if number < 5 else json.dumps(dict.fromkeys(asked(body), "no")))

    with serving(decide) as server:
        photos.configure(verify=verifying(server, price_read=2.0, statements=1000))
        photos.run()
        told = capsys.readouterr().out
        assert re.search(r"verify: 5 failed, 19 done; .* tokens read .* price 0\.0\d+", told)
        assert "5 x not_json, such as" in told
        assert table(photos.work, capsys)["verify"] == [COUNT - 5, 5, 0, 0, 0]
        assert table(photos.work, capsys)["validate"] == [COUNT - 5, 0, 0, 0, 5]
        assert len(scenes(photos.work)) == COUNT - 5
        missing = json.loads((photos.work / "dataset/assemble.json").read_text())["missing"]
        assert missing == {"failed in verify": 5}
        photos.run()
        assert table(photos.work, capsys)["verify"] == [COUNT, 0, 0, 0, 0]
        number = len(server.requests)
    photos.run()  # the server is gone, and nothing is to do
    # Whatever was confirmed is there: all negatives, and no paraphrase.
    for output in outputs(photos.work, "verify").values():
        assert not texts(output, "paraphrases")
    assert any("negatives" in r for s in scenes(photos.work).values() for r in s["relations"])
    made = json.loads((photos.work / "dataset/assemble.json").read_text())["made"]["verify"]
    assert made["settings"]["model"] == "m"
    assert "{statements}" in made["settings"]["prompt"]
    card = (photos.work / "dataset/README.md").read_text()
    assert "Judge these statements about the photo" in card

    lines = written(photos.work)
    with serving(lambda body, _: Reply('{"1": "no"}')) as server:
        prompt = "Is it so? {statements}"
        photos.configure(verify=verifying(server, prompt=prompt, statements=1000))
        photos.run(command="photos")
        found = table(photos.work, capsys)
        stale = {name for name, counts in found.items() if counts == [0, 0, COUNT, 0, 0]}
        assert stale == {"verify", "validate"}
        photos.run()
        assert len(server.requests) == number - 5
        assert server.requests[0]["messages"][0]["content"][1]["text"].startswith("Is it so? 1. ")
    assert {stage for stage, _ in written(photos.work) - lines} == {"verify", "validate"}
    verdicts = Counter(
        verdict
        for output in outputs(photos.work, "verify").values()
        for verdict in verdicts_of(output).values()
    )
    assert verdicts["unanswered"] > verdicts["false"] > COUNT / 2
    assert sum(n for name, n in removed(photos.work).items() if name.endswith("unanswered")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("value", ["no", "unsure"])
def test_texts_are_asked_in_an_order_that_tells_nothing(photos, value):
    seen = []

    def decide(body, _):
        seen.append(list(asked(body).values()))
        return Reply(json.dumps(dict.fromkeys(asked(body), value)))

    with serving(decide) as server:
        photos.configure(verify=verifying(server, statements=1000))
        photos.run()
    true = {
        " ".join(text)
        for output in outputs(photos.work, "negatives").values()
        for text in texts(output, "paraphrases")
    }
    places = [place / len(each) for each in seen for place, text in enumerate(each) if text in true]
    assert len(places) > 30
    assert 0.35 < sum(places) / len(places) < 0.6
    assert all(len(set(each)) == len(each) for each in seen)
