"""Remembered structures of models."""

from tests.harness.structures import remember


class Model:
    def __init__(self, **sizes):
        self.sizes = sizes


def test_the_same_arguments_are_asked_about_once_and_others_anew():
    asked = []

    def real(make_model):
        asked.append(make_model().sizes)
        return "graph", {"x": asked[-1]}

    abstract = remember(real)

    def of(**sizes):
        return abstract(lambda: Model(**sizes))

    assert of(width=1) == of(width=1) == ("graph", {"x": {"width": 1}})
    assert len(asked) == 1
    of(width=1)[1].clear()  # what one caller does with it, no other sees
    assert of(width=1)[1]
    for sizes in ({"width": 2}, {"width": (1,)}, {"width": [1]}):
        assert of(**sizes) == ("graph", {"x": sizes}), "a structure of other arguments was taken"
    assert len(asked) == 4


def test_what_is_not_plain_is_asked_about_each_time():
    asked = []
    abstract = remember(lambda make_model: (asked.append(make_model()), {}))
    thing = object()
    for _ in range(2):
        abstract(lambda: thing)
    assert len(asked) == 2


def test_another_class_of_the_same_name_is_another_model(monkeypatch):
    abstract = remember(lambda make_model: (type(make_model()), {}))

    def of():
        return abstract(lambda: Model())[0]

    assert of() is of() is Model
    other = type("Other", (Model,), {})
    monkeypatch.setitem(globals(), "Model", other)
    assert of() is other
