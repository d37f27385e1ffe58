"""Pictures are found however their paths are spelled, and never outside of the folders that were named."""

import unicodedata

import pytest

from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root/images").mkdir(parents=True)
    for name in ("a.jpg", "b c.JPG", "caf\u00e9.jpg", "100%25.jpg"):
        (tmp_path / "root/images" / name).write_bytes(b"")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *(
            (p, "a.jpg")
            for p in ("images/a.jpg", "./images/a.jpg", "images//a.jpg", "images/../images/a.jpg")
        ),
        *(
            (p, "a.jpg")
            for p in ("images\\a.jpg", "images/a.JPG", "Images/A.jpg", " images/a.jpg\n")
        ),
        *((p, "b c.JPG") for p in ("images/b c.jpg", "images/b%20c.JPG", "images\\B%20C.jpg")),
        ("images/" + unicodedata.normalize("NFD", "caf\u00e9.jpg"), "caf\u00e9.jpg"),
        ("images/100%25.jpg", "100%25.jpg"),
    ],
)
def test_other_spellings_are_found(path, name, root):
    assert Folders(root).find(path).name == name


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.jpg", "leaves the data root"),
        ("images/../../secret.jpg", "leaves the data root"),
        ("..\\secret.jpg", "leaves the data root"),
        ("%2e%2e/secret.jpg", "leaves the data root"),
        ("/etc/passwd", "--images=DIR"),
        ("images/none.jpg", "no file"),
        ("photos/a.jpg", "--images=DIR"),
        ("https://x/a.jpg", "download it"),
        ("images", "no file"),
        ("images/\0", "no usable path"),
        ("x" * 5000, "no"),
        ("", "no file"),
    ],
)
@pytest.mark.parametrize("follow_links", [False, True])
def test_what_is_not_there_or_outside_says_so(path, message, follow_links, root):
    (root.parent / "secret.jpg").write_bytes(b"")
    with pytest.raises(PhotoError, match=message):
        Folders(root, follow_links=follow_links).find(path)


def test_two_that_differ_by_case_are_not_guessed(root):
    (root / "images/A.JPG").write_bytes(b"")
    assert Folders(root).find("images/a.jpg").name == "a.jpg"
    with pytest.raises(PhotoError, match="no file"):
        Folders(root).find("images/a.Jpg")


def test_links_out_of_the_root_name_the_flag(root, tmp_path):
    (tmp_path / "my disk").mkdir()
    (tmp_path / "my disk/z.jpg").write_bytes(b"")
    (root / "linked").symlink_to(tmp_path / "my disk")
    with pytest.raises(PhotoError) as error:
        Folders(root).find("linked/z.jpg")
    assert f"{root / 'linked'} is a link to {tmp_path / 'my disk'}" in str(error.value)
    assert f"--images='{tmp_path / 'my disk'}'" in str(error.value)
    assert "--follow-links" in str(error.value)
    expected = tmp_path / "my disk/z.jpg"
    assert Folders(root, follow_links=True).find("linked/z.jpg") == expected
    assert Folders(root, [tmp_path / "my disk"]).find("linked/z.jpg") == expected
    (root / "dead").symlink_to(tmp_path / "gone")
    with pytest.raises(PhotoError, match=r"dead is a link to .*gone, which is missing"):
        Folders(root).find("dead/z.jpg")


def test_other_folders_are_searched_in_turn(root, tmp_path):
    for name in ("one", "two/images"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one/x.jpg").write_bytes(b"")
    (tmp_path / "two/images/y.jpg").write_bytes(b"")
    folders = Folders(root, [tmp_path / "one", tmp_path / "two"])
    assert folders.find("images/x.jpg") == tmp_path / "one/x.jpg"
    assert folders.find("images/y.jpg") == tmp_path / "two/images/y.jpg"
    assert folders.find("images/a.jpg") == root / "images/a.jpg"
    with pytest.raises(PhotoError, match="no file"):
        folders.find("deep/images/x.jpg")
