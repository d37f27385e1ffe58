"""An album: what is indexed, what is found, and what a change of the photos costs."""

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarioclip_jax.describe.detector import DetectorError
from scenarioclip_jax.search import build, query, vectors
from scenarioclip_jax.search.build import Finder, update
from scenarioclip_jax.search.query import Album, Part
from scenarioclip_jax.search.store import AlbumError, Store
from scenarioclip_jax.search.vectors import Vectors, make_index
from tests.search.colors import Colors, paint

LEFT, RIGHT = (0, 0, 20, 40), (40, 0, 60, 40)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    paint(folder / "red.png", "red")
    paint(folder / "below/green.png", "green")
    paint(folder / "blue.png", "blue")
    paint(folder / "both.png", "gray", ("red", LEFT), ("blue", RIGHT))
    paint(folder / "reds.png", "gray", ("red", LEFT), ("red", RIGHT))
    return folder


BOXES = {"both.png": [LEFT, RIGHT], "reds.png": [LEFT, RIGHT]}


def index(photos, model=None, boxes=(), pairs=30, finder=None):
    """Updates the index beside the photos."""
    folder = photos.parent / "album"
    folder.mkdir(exist_ok=True)
    store = Store(folder, make=True)
    outcome = update(store, model or Colors(), photos, dict(boxes), pairs, finder)
    store.close()
    return folder, outcome


def found(folder, *parts, count=20):
    """The first path of each hit; parts are (text, level) or (text, level, wanted)."""
    album = Album(folder)
    asked = [album.text(Colors(), *part) for part in parts]
    return [hit.paths[0] for hit in album.search(asked, count)]


def test_a_color_finds_its_photos(photos):
    folder, outcome = index(photos)
    assert outcome == (5, 5, 0, [], [])
    assert found(folder, ("red", "global"), count=2) == ["red.png", "reds.png"]
    assert found(folder, ("green", "global"), count=1) == ["below/green.png"]
    assert len(found(folder, ("red", "global"))) == 5


def test_objects_and_relations_are_found_with_their_places(photos):
    folder, _ = index(photos, boxes=BOXES)
    album = Album(folder)
    (hit,) = album.search([album.text(Colors(), "blue", "object")], 1)
    assert hit.paths == ["both.png"]
    assert hit.size == (60, 40)
    (match,) = hit.matches
    assert match.boxes == [list(RIGHT)]
    assert match.cosine == pytest.approx(1, abs=1e-3)
    (hit,) = album.search([album.text(Colors(), "red blue", "relation")], 1)
    assert hit.paths == ["both.png"]
    assert hit.matches[0].boxes == [list(LEFT), list(RIGHT)]


def test_a_text_without_a_level_counts_where_it_fits_best(photos):
    folder, _ = index(photos, boxes=BOXES)
    album = Album(folder)
    hits = {hit.paths[0]: hit for hit in album.search([album.text(Colors(), "blue")])}
    assert hits["both.png"].matches[0].level == "object"
    assert hits["blue.png"].matches[0].level == "global"
    # It is the best of the levels.
    alone = album.search([album.text(Colors(), "blue", "object")])
    (match,) = next(hit for hit in alone if hit.paths == ["both.png"]).matches
    assert hits["both.png"].score == pytest.approx(match.z)


def test_parts_add_up_and_unwanted_ones_count_against(photos):
    folder, _ = index(photos, boxes=BOXES)
    with_blue = found(folder, ("red", "object"), ("blue", "object"))
    assert with_blue[0] == "both.png"
    assert found(folder, ("red", "object"), ("blue", "object", False))[0] == "reds.png"
    album = Album(folder)
    parts = [album.text(Colors(), "red", "global"), album.text(Colors(), "blue", "global", False)]
    for hit in album.search(parts):
        wanted, unwanted = hit.matches
        assert hit.score == pytest.approx(wanted.z - unwanted.z, rel=1e-5)
    # A photo without boxes can't show an object, but may lack an unwanted one.
    assert set(found(folder, ("red", "object"))) == {"both.png", "reds.png"}
    assert "red.png" in found(folder, ("red", "global"), ("blue", "object", False))


def test_a_photo_or_a_place_in_one_finds_what_is_like_it(photos):
    folder, _ = index(photos, boxes=BOXES)
    album = Album(folder)
    like = paint(photos.parent / "query.png", "blue", ("red", LEFT))
    for boxes, level, first in (
        ([], "global", "both.png"),
        ([LEFT], "object", ("both.png", "reds.png")),
        ([LEFT, RIGHT], "relation", "both.png"),
    ):
        part = album.picture(Colors(), str(like), boxes)
        assert list(part.queries) == [level]
        assert album.search([part], 1)[0].paths[0] in first
    blind = Colors()
    blind.share_in_view = lambda boxes, size: np.zeros(len(boxes))
    with pytest.raises(ValueError, match="sees nothing of one of the boxes"):
        album.picture(blind, str(like), [LEFT])
    with pytest.raises(ValueError, match="3 boxes"):
        album.picture(Colors(), str(like), [LEFT] * 3)


def test_an_unchanged_album_costs_nothing_and_a_moved_photo_neither(photos):
    index(photos, boxes=BOXES)
    model = Colors()
    _, outcome = index(photos, model, BOXES)
    assert (outcome.embedded, model.embedded) == (0, 0)
    (photos / "red.png").rename(photos / "moved.png")
    folder, outcome = index(photos, model, BOXES)
    assert (outcome.embedded, outcome.gone, model.embedded) == (0, 1, 0)
    assert found(folder, ("red", "global"), count=1) == ["moved.png"]


def test_a_copy_is_one_hit_with_two_paths(photos):
    shutil.copy(photos / "red.png", photos / "again.png")
    folder, outcome = index(photos)
    assert outcome.embedded == 5
    album = Album(folder)
    (hit,) = album.search([album.text(Colors(), "red", "global")], 1)
    assert hit.paths == ["again.png", "red.png"]
    (photos / "again.png").unlink()
    index(photos)
    album = Album(folder)
    (hit,) = album.search([album.text(Colors(), "red", "global")], 1)
    assert hit.paths == ["red.png"]


def test_changed_and_deleted_photos_are_forgotten(photos):
    folder, _ = index(photos, boxes=BOXES)
    paint(photos / "red.png", "green")
    (photos / "both.png").unlink()
    model = Colors()
    _, outcome = index(photos, model, {"reds.png": BOXES["reds.png"]})
    # The repainted photo has the content of another one.
    assert (outcome.embedded, outcome.gone) == (0, 1)
    assert found(folder, ("red", "global"), count=1) == ["reds.png"]
    with sqlite3.connect(folder / "album.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM contents").fetchone() == (3,)
        # Three whole photos, two objects, a relation.
        assert database.execute("SELECT COUNT(*) FROM items").fetchone() == (6,)


def test_other_boxes_are_another_content(photos):
    folder, _ = index(photos, boxes=BOXES)
    model = Colors()
    _, outcome = index(photos, model, BOXES | {"both.png": [RIGHT]})
    assert (outcome.embedded, model.embedded) == (1, 1)
    album = Album(folder)
    assert len(album.levels["object"].items) == 3
    assert len(album.levels["relation"].items) == 1


def test_only_the_nearest_pairs_are_kept(photos):
    boxes = [[x, 0, x + 5, 5] for x in (0, 6, 20, 50)]
    folder, _ = index(photos, boxes={"red.png": boxes}, pairs=2)
    store = Album(folder).store
    kept = [store.boxes(item) for item, *_ in store.vectors("relation")]
    assert kept == [[boxes[0], boxes[1]], [boxes[1], boxes[2]]]


def test_a_detector_finds_boxes_where_none_are_given(photos):
    asked = []

    def detector(picture, names):
        asked.append(names)
        return np.array([LEFT, RIGHT], np.float32)

    finder = Finder("left and right", detector, ("red", "blue"))
    folder, outcome = index(photos, boxes={"red.png": [], "both.png": [LEFT]}, finder=finder)
    assert outcome.embedded == 5
    assert asked == [("red", "blue")] * 3
    # Two of each of three photos, and the one that was given.
    assert len(Album(folder).levels["object"].items) == 7
    # Again, it looks at nothing; another one looks at all that have no boxes.
    index(photos, boxes={"red.png": [], "both.png": [LEFT]}, finder=finder)
    assert len(asked) == 3
    other = finder._replace(told="others")
    _, outcome = index(photos, boxes={"red.png": [], "both.png": [LEFT]}, finder=other)
    assert (outcome.embedded, len(asked)) == (3, 6)


def test_an_album_that_is_open_follows_its_index(photos):
    folder, _ = index(photos)
    album = Album(folder)
    asked = [album.text(Colors(), "red", "global")]
    assert album.search(asked, 1)[0].paths == ["red.png"]
    (photos / "red.png").unlink()
    index(photos)
    paint(photos / "another.png", "red")
    index(photos)
    assert album.search(asked, 1)[0].paths == ["another.png"]


def test_levels_that_are_gone_since_a_text_was_embedded_count_no_more(photos):
    folder, _ = index(photos, boxes=BOXES)
    album = Album(folder)
    blue = np.array([0, 0, 1], np.float32)
    index(photos)
    hits = album.search([Part("blue", {"object": blue, "global": blue})], 2)
    assert hits[0].paths == ["blue.png"]
    assert {match.level for hit in hits for match in hit.matches} == {"global"}
    assert album.search([Part("blue", {"object": blue})]) == []


def test_a_database_that_is_damaged_inside_is_told_of(photos):
    folder, _ = index(photos, boxes=BOXES)
    content = bytearray((folder / "album.sqlite").read_bytes())
    whole = 3 * 4096  # the pages of what is known of the index as a whole
    content[whole:] = b"\xff" * (len(content) - whole)
    (folder / "album.sqlite").write_bytes(content)
    with pytest.raises(
        AlbumError, match=r"album\.sqlite: can't be used .*delete .*album and index"
    ):
        Store(folder).boxes(1)


def test_embeddings_that_cannot_be_kept_are_told_of_and_found_alike(photos, monkeypatch, capsys):
    folder, _ = index(photos)
    expected = found(folder, ("red", "global"))
    for file in folder.glob("*.faiss"):
        file.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vectors, "write_whole", full)
    assert found(folder, ("red", "global")) == expected
    assert "can't be kept there ([Errno 28] No space left" in capsys.readouterr().err


def test_an_index_that_is_made_anew_has_nothing_of_the_old_one(photos, tmp_path):
    folder, _ = index(photos)
    found(folder, ("red", "global"))
    (folder / "album.sqlite").unlink()
    shutil.rmtree(photos)
    paint(photos / "one.png", "blue")
    paint(photos / "two.png", "red")
    index(photos)
    assert found(folder, ("red", "global")) == ["two.png", "one.png"]


def test_many_items_of_few_photos_leave_room_for_others(photos, monkeypatch):
    monkeypatch.setattr(query, "DEEP", 2)
    boxes = {
        "red.png": [[x, 0, x + 5, 40] for x in range(0, 55, 5)],
        "blue.png": [LEFT],
        "both.png": [LEFT],
    }
    folder, _ = index(photos, boxes=boxes)
    monkeypatch.setattr(query, "PER_HIT", 1)
    assert len(found(folder, ("red", "object"), count=3)) == 3


def test_what_cannot_be_listed_is_not_forgotten(photos, monkeypatch):
    folder, _ = index(photos)
    listed = build.found_below

    def found_below(folder, onerror):
        onerror(OSError(13, "Permission denied", str(folder / "below")))
        return (path for path in listed(folder) if not path.startswith("below/"))

    monkeypatch.setattr(build, "found_below", found_below)
    _, outcome = index(photos)
    assert outcome.gone == 0
    assert outcome.left_out == [("below/", "can't be listed (Permission denied)")]
    assert found(folder, ("green", "global"), count=1) == ["below/green.png"]


def test_an_empty_folder_does_not_empty_the_index(photos):
    folder, _ = index(photos)
    shutil.move(photos, photos.parent / "elsewhere")
    photos.mkdir()
    with pytest.raises(AlbumError, match="none of the 5 photos of the index is there any more"):
        index(photos)
    assert found(folder, ("red", "global"), count=1) == ["red.png"]


def test_odd_files_are_told_and_stop_nothing(photos):
    os.mkfifo(photos / "pipe.jpg")
    odd = os.fsencode(photos) + b"/caf\xe9.jpg"
    shutil.copy(photos / "red.png", odd)
    _, outcome = index(photos)
    assert outcome.embedded == 5
    assert sorted(reason for _, reason in outcome.left_out) == [
        "isn't a file",
        "its name isn't UTF-8; rename it",
    ]


def test_boxes_are_found_by_any_way_to_write_a_path(photos):
    boxes = {
        "./both.png": [LEFT],
        str(photos / "reds.png"): [LEFT],
        "below//green.png": [LEFT],
        "no.png": [LEFT],
    }
    folder, outcome = index(photos, boxes=boxes)
    assert len(Album(folder).levels["object"].items) == 3
    assert outcome.unmatched == ["no.png"]


def test_a_detector_that_fails_at_a_photo_is_asked_again(photos):
    def detector(picture, names):
        if np.asarray(picture)[0, 0].tolist() == [255, 0, 0]:
            raise DetectorError("out of memory")
        return np.array([LEFT], np.float32)

    finder = Finder("some", detector, ("red",))
    folder, outcome = index(photos, finder=finder)
    assert sorted(path for path, _ in outcome.left_out) == ["both.png", "red.png", "reds.png"]
    assert len(Album(folder).levels["object"].items) == 2
    better = finder._replace(detector=lambda *_: np.array([LEFT], np.float32))
    _, outcome = index(photos, finder=better)
    assert (outcome.embedded, outcome.left_out) == (3, [])


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_an_interrupted_update_goes_on_and_ends_alike(photos, monkeypatch, after):
    monkeypatch.setattr(build, "AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        index(photos, Colors(fail_after=after), BOXES)
    model = Colors()
    folder, outcome = index(photos, model, BOXES)
    # What was kept before stays: whole groups of two.
    assert outcome.embedded == model.embedded == 5 - after // 2 * 2
    interrupted = sorted(found(folder, ("red", "object")) + found(folder, ("blue", "global")))
    shutil.rmtree(folder)
    folder, _ = index(photos, boxes=BOXES)
    assert interrupted == sorted(
        found(folder, ("red", "object")) + found(folder, ("blue", "global"))
    )


def test_arrays_that_are_damaged_or_old_are_made_anew(photos):
    folder, _ = index(photos)
    before = found(folder, ("red", "global"))
    (file,) = folder.glob("*.faiss")
    for damage in (b"", file.read_bytes()[:-9], b"no index at all" * 9):
        file.write_bytes(damage)
        assert found(folder, ("red", "global")) == before
    for damage in (b"", file.with_suffix(".npy").read_bytes()[:-9]):
        file.with_suffix(".npy").write_bytes(damage)
        assert found(folder, ("red", "global")) == before
    file.unlink()
    assert found(folder, ("red", "global")) == before
    paint(photos / "new.png", "red", ("gray", (0, 0, 2, 2)))
    index(photos)  # nobody opened the album since
    assert "new.png" in found(folder, ("red", "global"), count=2)


def test_photos_that_cannot_be_used_are_told_and_the_rest_is_found(photos):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    (photos / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    boxes = {"red.png": [[100, 100, 120, 120]]}
    folder, _ = index(photos, boxes=boxes)
    store = Store(folder)
    problems = dict(store.problems())
    assert problems.keys() == {"broken.jpg", "phone.HEIC", "red.png"}
    assert "pip install pillow-heif" in problems["phone.HEIC"]
    assert "its box 0 can't be used" in problems["red.png"]
    assert found(folder, ("blue", "global"), count=1) == ["blue.png"]
    assert found(folder, ("red", "global"), count=1) == ["red.png"]
    # They aren't tried again before they change.
    model = Colors()
    index(photos, model, boxes)
    assert model.embedded == 0
    paint(photos / "broken.jpg", "green")
    index(photos, model, boxes)
    assert model.embedded == 1
    assert dict(Store(folder).problems()).keys() == {"phone.HEIC", "red.png"}


def test_unreadable_files_are_tried_again(photos):
    (photos / "link.png").symlink_to(photos / "nothing.png")
    _, outcome = index(photos)
    ((path, reason),) = outcome.left_out
    assert (path, bool(reason)) == ("link.png", True)
    paint(photos / "nothing.png", "red", ("blue", LEFT))
    _, outcome = index(photos)
    assert (outcome.embedded, outcome.left_out) == (1, [])


def test_what_cannot_be_asked(photos, tmp_path):
    with pytest.raises(AlbumError, match=r"no index of photos; make one with .*search index"):
        Album(tmp_path)
    folder, _ = index(photos)
    album = Album(folder)
    with pytest.raises(AlbumError, match=r"nothing at the level object.*--boxes"):
        album.text(Colors(), "red", "object")
    with pytest.raises(ValueError, match="what the photos should show"):
        album.search([album.text(Colors(), "red", "global", False)])
    with pytest.raises(ValueError, match="level is 'scene'"):
        album.text(Colors(), "red", "scene")
    (folder / "album.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(
        AlbumError, match=r"album\.sqlite: can't be used .*delete .*album and index"
    ):
        Album(folder)


def test_an_album_without_a_photo_says_so(tmp_path):
    (tmp_path / "photos").mkdir()
    folder, outcome = index(tmp_path / "photos")
    assert outcome.photos == 0
    with pytest.raises(AlbumError, match="holds no photo"):
        Album(folder)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), items=st.integers(1, 60), photos=st.integers(1, 20))
def test_the_best_items_are_those_of_all_comparisons(seed, items, photos):
    rng = np.random.default_rng(seed)
    contents = np.sort(rng.integers(0, photos, items))
    vectors = rng.standard_normal((items, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    query = vectors[0].astype(np.float32)
    level = Vectors(np.arange(items), contents, make_index(vectors))
    cosines = vectors.astype(np.float32) @ query
    near = level.nearest(query, 5)
    assert cosines[near[0]] == pytest.approx(cosines.max(), abs=2e-3)
    np.testing.assert_allclose(
        np.sort(cosines[near]), np.sort(np.sort(cosines)[::-1][:5]), atol=2e-3
    )
    best, rows = level.best(query, np.arange(photos))
    for content in range(photos):
        own = np.flatnonzero(contents == content)
        if len(own):
            assert best[content] == pytest.approx(cosines[own].max(), abs=1e-6)
            assert rows[content] == own[cosines[own].argmax()]
        else:
            assert np.isnan(best[content])
    mean, deviation = level.usual(query)
    assert mean == pytest.approx(cosines.mean(), abs=1e-5)
    assert deviation == pytest.approx(max(cosines.std(), 1e-4), rel=1e-3)


def test_many_items_lie_in_cells_and_are_found_alike(photos, monkeypatch):
    for number in range(150):
        paint(
            photos / f"many/{number}.png", "gray", ("red", (0, 0, 1 + number % 60, 1 + number // 4))
        )
    folder, _ = index(photos, boxes=BOXES)
    exact = found(folder, ("red", "global"), ("blue", "global", False))
    monkeypatch.setattr(vectors, "EXACT", 100)
    for file in folder.glob("*.faiss"):
        file.unlink()
    assert found(folder, ("red", "global"), ("blue", "global", False)) == exact
    assert Album(folder).levels["global"].index.nprobe == vectors.PROBES


def test_hits_are_json(photos):
    folder, _ = index(photos, boxes=BOXES)
    album = Album(folder)
    parts = [album.text(Colors(), "red", "global"), album.text(Colors(), "blue", "object", False)]
    told = json.loads(json.dumps([hit.as_json() for hit in album.search(parts)], allow_nan=False))
    assert told[0]["paths"]
    assert told[0]["matches"][0]["part"] == "red"
