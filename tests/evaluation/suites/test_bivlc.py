"""BiVLC's two pictures and two captions, out of Parquet files in the hub's form."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import bivlc
from tests.evaluation.fakes import FakeEncoder
from tests.evaluation.suites.test_captions_against_negatives import at

TEXTS = {"a b": at(0), "b a": at(90)}


def picture(gray):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (gray, gray, gray)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"{gray}.png"}


def record(first, second, **changes):
    """Pictures that many degrees from the first caption, which their gray tells."""
    pictures = {"image": picture(first), "negative_image": picture(second)}
    texts = {"caption": "A  b", "negative_caption": "b a", "type": "swap", "subtype": "obj"}
    return pictures | texts | changes


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(records)), path)
    return path


class ByGray(FakeEncoder):
    def images(self, pictures, level):
        self.asked += pictures
        return np.array([at(Image.open(each.path).getpixel((0, 0))[0]) for each in pictures])


def evaluate(path):
    return bivlc.evaluate(ByGray({}, TEXTS), Files(path, (path,)), Settings())


def test_scores_have_the_authors_names(tmp_path):
    # Right; near the first caption, so that the made image finds the wrong text.
    write(tmp_path / "data" / "test-00000-of-00002.parquet", record(10, 80), record(5, 40))
    write(tmp_path / "data" / "test-00001-of-00002.parquet", record(80, 10, type="add"))
    result = evaluate(tmp_path)
    values = result.values()
    assert values["I2T"] == pytest.approx(1 / 3)
    assert values["T2I"] == pytest.approx(2 / 3)
    assert values["group"] == pytest.approx(1 / 3)
    assert values["Ipos_2T"] == pytest.approx(2 / 3)
    assert values["Ineg_2T"] == pytest.approx(1 / 3)
    assert values["Tpos_2I"] == values["Tneg_2I"] == pytest.approx(2 / 3)
    assert (values["swap/I2T"], values["swap/T2I"], values["add/T2I"]) == (0.5, 1.0, 0.0)
    assert result.counts["swap records"] == 2
    assert "3 of the published 2,933" in result.notes[0]


def test_a_tie_is_wrong(tmp_path):
    values = evaluate(write(tmp_path / "test.parquet", record(45, 45))).values()
    assert set(values.values()) == {0.0}


def test_pictures_are_known_by_their_pixels(tmp_path):
    path = write(tmp_path / "test.parquet", record(10, 80), record(10, 40))
    files = Files(path, (tmp_path,))
    bivlc.read(files, Result({}, {}, "", ""))
    assert len(files.photos) == 4
    assert len(set(files.photos.values())) == 3
    assert list(files.digests) == [str(path)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image": {"bytes": None, "path": "1.png"}}, r"row 1: 'image' holds no bytes"),
        ({"image": {"bytes": b"<html>", "path": "1.png"}}, r"row 1: .*an HTML page"),
        ({"caption": ""}, r"row 1: 'caption' is ''"),
        ({"type": None}, r"row 1: 'type' is None"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, changes, told):
    path = write(tmp_path / "test.parquet", record(10, 80), record(10, 80, **changes))
    with pytest.raises(SuiteError, match=told):
        evaluate(path)


def test_files_that_are_no_such_parquet_are_named(tmp_path):
    with pytest.raises(SuiteError, match=r"no test\*\.parquet is there"):
        evaluate(tmp_path)
    path = write(tmp_path / "test.parquet", {"caption": "a"})
    with pytest.raises(SuiteError, match="no column 'image'; it has caption"):
        evaluate(path)
    table = pa.Table.from_pylist([record(1, 2)])
    parquet.write_table(table.slice(0, 0), path)
    with pytest.raises(SuiteError, match="no record in it"):
        evaluate(path)
    whole = write(path, record(10, 80)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SuiteError, match="isn't a readable Parquet file"):
        evaluate(path)
    path.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SuiteError, match=r"test\.parquet can't be read: it is a Git LFS pointer"):
        evaluate(path)
