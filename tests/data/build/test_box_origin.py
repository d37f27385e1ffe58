"""Boxes whose axes count from another edge, or from the middle, stop the build under their name."""

import pytest

from scenarioclip_jax.data.build.box_formats import BoxReading
from scenarioclip_jax.data.build.box_votes import BoxFlags
from scenarioclip_jax.data.build.problems import AnnotationError
from tests.data.box_data import LARGER, MERGED, decided, dragged, write

SEEDS = range(4)


def up(*axes):
    """Boxes whose axis counts from the other edge, corners in their places."""

    def change(rng, box, size):
        return [size[i % 2] - value if i % 2 in axes else value for i, value in enumerate(box)]

    return change


def lower_left_first(rng, box, size):
    return [box[0], box[3], box[2], box[1]]


@pytest.mark.parametrize("units", ["pixels", "unit"])
@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ((1,), r"y0 > y1 in \d+ of \d+ .* y counts from the lower edge .*subtract each y"),
        (
            (0,),
            r"x0 > x1 in .* x counts from the right edge .*subtract each x from the photo's width",
        ),
        ((0, 1), r"x0 > x1 and y0 > y1 in .* right edge and y counts from the lower edge"),
    ],
)
@pytest.mark.parametrize("drawn", [False, True])
def test_an_axis_that_counts_from_the_other_edge_is_no_dragging(units, axes, said, drawn, tmp_path):
    write(tmp_path, 0, 12, change=up(*axes), units=units, drawn=drawn, **LARGER)
    told = "as the borders in the photos say" if drawn else "draw some on their photos"
    with pytest.raises(AnnotationError, match=said) as error:
        decided(tmp_path)
    assert told in str(error.value)
    assert f"add --boxes=xyxy --box-units={units}" in str(error.value)
    # Whoever has looked isn't asked again.
    assert decided(tmp_path, BoxFlags("xyxy", units))[0].reading == BoxReading("xyxy", units)


def test_corners_in_another_order_are_right_where_the_photos_say_so(tmp_path):
    write(tmp_path / "drawn", 0, 12, change=lower_left_first, drawn=True, **LARGER)
    assert decided(tmp_path / "drawn")[1] == []
    write(tmp_path / "dragged in unit", 0, 12, change=dragged, units="unit", **LARGER)
    with pytest.raises(AnnotationError, match="If so, add --box-units=unit"):
        decided(tmp_path / "dragged in unit")


def centered(half):
    def change(rng, box, size):
        halves = [half or n / 2 for n in (*size, *size)]
        return [(2 * v / n - 1) * h for v, n, h in zip(box, [*size, *size], halves, strict=True)]

    return change


def with_sides(change):
    """The same as x, y, width and height."""

    def changed(rng, box, size):
        x0, y0, x1, y1 = change(rng, box, size)
        return [x0, y0, x1 - x0, y1 - y0]

    return changed


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize(
    ("half", "said"),
    [
        (1, r"a grid from -1 to 1.*\(coordinate \+ 1\) / 2 .*--box-units=unit"),
        (0.5, r"shares from -0.5 to 0.5.*add 0.5 .*--box-units=unit"),
        (None, r"pixels from the photo's middle.*half of the photo's width"),
    ],
)
def test_boxes_that_count_from_the_middle_are_called_so(half, said, sides, tmp_path):
    change = with_sides(centered(half)) if sides else centered(half)
    # (Written as if in pixels: `write` rounds these to a tenth.)
    write(tmp_path, 0, 12, change=change, **LARGER)
    with pytest.raises(AnnotationError, match=said):
        decided(tmp_path)


def counted_from(axes):
    """Boxes that count from the other edge along some axes, with their corners in order."""

    def change(rng, box, size):
        box = list(box)
        for axis in axes:
            box[axis], box[axis + 2] = size[axis] - box[axis + 2], size[axis] - box[axis]
        return box

    return change


@pytest.mark.parametrize("format", ["xyxy", "xywh"])
@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ((1,), "y counts from the lower edge"),
        ((0,), "x counts from the right edge"),
        ((0, 1), "x counts from the right edge and y counts from the lower edge"),
    ],
)
def test_boxes_in_order_that_count_from_the_other_edge_stop_the_build(axes, said, format, tmp_path):
    """As in PDF: they fit their photos, so that only the photos show it."""
    write(tmp_path, 0, 24, change=counted_from(axes), format=format, drawn=True, **LARGER)
    flags = BoxFlags(format if format != "xyxy" else None)
    with pytest.raises(AnnotationError, match=f"if {said}, and not where the boxes end") as error:
        decided(tmp_path, flags)
    assert f"add --boxes={format} --box-units=pixels" in str(error.value)
    decision, _ = decided(tmp_path, BoxFlags(format, "pixels"))
    assert decision.reading == BoxReading(format)


def in_some(change):
    """Changes the boxes of some records: of those whose photo has an odd width, see `sizes` below."""
    return lambda rng, box, size: change(rng, box, size) if size[0] % 2 else box


@pytest.mark.parametrize("axes", [(1,), (0,), (0, 1)])
def test_an_axis_from_the_other_edge_in_some_records_is_no_dragging(axes, tmp_path):
    """People drag a box from any corner, whatever record it is in."""
    write(tmp_path / "seen", 0, 24, change=in_some(up(*axes)), drawn=True, **MERGED)
    with pytest.raises(
        AnnotationError, match=r"boxes of \d+ of 24 records.*as the borders in"
    ) as error:
        decided(tmp_path / "seen")
    assert "Were two data sets merged?" in str(error.value)
    write(tmp_path / "not seen", 0, 24, change=in_some(up(*axes)), **MERGED)
    with pytest.raises(AnnotationError, match="or only the corners come in this order"):
        decided(tmp_path / "not seen")


def test_a_habit_of_dragging_is_right_where_the_photos_say_so(tmp_path):
    """One of two people begins at the lower left."""
    write(tmp_path / "seen", 0, 24, change=in_some(lower_left_first), drawn=True, **MERGED)
    assert decided(tmp_path / "seen")[1] == []
    for seed in SEEDS:
        write(tmp_path / str(seed), seed, 24, change=dragged, **MERGED)
        assert decided(tmp_path / str(seed))[1] == []


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize(("half", "said"), [(1, "a grid from -1 to 1"), (0.5, "shares from -0.5")])
def test_records_that_count_from_the_middle_among_others_are_called_so(half, said, sides, tmp_path):
    change = with_sides(centered(half)) if sides else centered(half)
    write(tmp_path, 0, 24, change=in_some(change), **MERGED)
    with pytest.raises(
        AnnotationError, match=rf"boxes of \d+ of 24 records look like {said}"
    ) as error:
        decided(tmp_path)
    assert "Were two data sets merged?" in str(error.value)
