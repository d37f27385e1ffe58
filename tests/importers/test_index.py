"""The index joins what was added in any order."""

from collections import defaultdict

import hypothesis.strategies as st
from hypothesis import given

from scenarioclip_jax.importers import index as module
from scenarioclip_jax.importers.index import Ids, Index

added = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers()), max_size=30)


@given(added, st.integers(1, 5))
def test_it_is_a_dict_of_lists(tmp_path_factory, rows, batch):
    expected = defaultdict(list)
    for kind, key, body in rows:
        expected[kind, str(key)].append(body)
    before, module._BATCH = module._BATCH, batch
    try:
        with Index(tmp_path_factory.mktemp("index") / "i.sqlite3") as index:
            for position, (kind, key, body) in enumerate(rows):
                index.add(kind, key, body)
                if position == len(rows) // 2:
                    index.get("a", 0)  # looking something up doesn't end the adding
            for kind in "ab":
                keys = sorted(key for k, key in expected if k == kind)
                assert list(index.keys(kind)) == keys
                assert index.count(kind) == len(keys)
                assert all(index.get(kind, key) == expected[kind, key] for key in keys)
            both = sorted({key for _, key in expected})
            assert list(index.keys("a", "b")) == both
            alone = {k for k in both if ("a", k) in expected and ("b", k) not in expected}
            found = dict(index.without("a", ["b"]))
            assert found == {key: len(expected["a", key]) for key in alone}
    finally:
        module._BATCH = before


def test_ids_are_new_once(tmp_path):
    ids = Ids(tmp_path / "i.sqlite3")
    assert [ids.add(id) for id in ("a", 1, "a", "1", 2)] == [True, True, False, False, True]
