"""A photo of several scenes is in one split, whatever it's called and however it's stored."""

import json

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.build.summary import format_summary
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.splits import SPLITS, split_of
from tests.data.builder_inputs import photo, record, write_root
from tests.data.test_images import encoded


def unique(seed: int) -> Image.Image:
    pixels = np.asarray(photo()).copy()
    pixels[:20, :20] = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
    return Image.fromarray(pixels)


def one_photo_in_many_forms(root):
    """Ten scenes of one photo, as one path, as copies and in other formats; twelve of photos of their own."""
    same = [record(f"path{i}", image_path="images/path0.jpg", relations=[]) for i in range(4)]
    copies = [record(f"copy{i}", relations=[]) for i in range(3)]
    forms = [record(f"form{i}", relations=[]) for i in range(3)]
    others = [record(f"other{i}", relations=[]) for i in range(12)]
    write_root(root, *same, *copies, *forms, *others)
    content = encoded(unique(99), "JPEG", quality=90)
    pixels = Image.open(root / "images/path0.jpg")
    for name in ("path0", "copy0", "copy1", "copy2"):
        (root / f"images/{name}.jpg").write_bytes(content)
    with_comment = encoded(unique(99), "JPEG", quality=90, comment=b"downloaded twice")
    (root / "images/form0.jpg").write_bytes(with_comment)
    pixels = Image.open(root / "images/path0.jpg")
    (root / "images/form1.jpg").write_bytes(encoded(pixels))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pixels.transpose(Image.Transpose.ROTATE_90)
    (root / "images/form2.jpg").write_bytes(encoded(turned, "TIFF", tiffinfo={274: 6}))
    for i in range(12):
        (root / f"images/other{i}.jpg").write_bytes(encoded(unique(i), "JPEG"))
    return [r["id"] for r in same + copies + forms]


def splits(out) -> dict[str, str]:
    found = {}
    for split in SPLITS:
        try:
            source = shards.open_split(out, split)
        except shards.DataSetError:
            continue  # an empty split
        found |= {source[i].id: split for i in range(len(source))}
    return found


def test_scenes_of_one_photo_are_in_one_split(tmp_path):
    ids = one_photo_in_many_forms(tmp_path / "root")
    assert len({split_of(id) for id in ids}) > 1  # by their ids they would be in several
    summary = build(tmp_path / "root", tmp_path / "out", progress=False)
    found = splits(tmp_path / "out")
    assert len({found[id] for id in ids}) == 1
    assert all(found[f"other{i}"] == split_of(f"other{i}") for i in range(12))  # as ever
    assert summary["shared_photos"] == {"photos": 1, "scenes": 10}
    folder = shards.dataset_dir(tmp_path / "out")
    listed = json.loads((folder / "shared_photos.json").read_text())
    assert listed == [{"split": found[ids[0]], "ids": ids}]
    assert "shared photos       1, shown by 10 scenes" in format_summary(summary, folder)
    # Neither the order nor what else there is decides: the split is a function of the photo.
    metadata = tmp_path / "root/metadata.json"
    data = json.loads(metadata.read_text())["data"]
    metadata.write_text(json.dumps({"data": [d for d in data[::-1] if d["id"] != "path0"]}))
    build(tmp_path / "root", tmp_path / "again", progress=False)
    assert splits(tmp_path / "again") == {k: v for k, v in found.items() if k != "path0"}


def test_photos_that_cannot_be_opened_share_nothing(tmp_path):
    root = write_root(tmp_path / "root", *(record(name) for name in "abcd"))
    for name in "abc":
        (root / f"images/{name}.jpg").write_bytes(b"")
    summary = build(root, tmp_path / "out", progress=False)
    assert summary["shared_photos"] == {"photos": 0, "scenes": 0}
    assert summary["scenes_dropped"] == 3


def test_nothing_is_said_where_nothing_is_shared(tmp_path):
    root = write_root(tmp_path / "root", record("a"))
    summary = build(root, tmp_path / "out", fractions=(1, 0, 0), progress=False)
    assert summary["shared_photos"] == {"photos": 0, "scenes": 0}
    folder = shards.dataset_dir(tmp_path / "out")
    assert not (folder / "shared_photos.json").exists()
    assert "shared photos" not in format_summary(summary, folder)
