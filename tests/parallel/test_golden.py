"""Partitions of parameters against the golden file, and what counts as a collective.

If a difference is wanted: `python -m tests.parallel.collectives`, and look at the diff.
"""

from scenarioclip_jax.costs.collectives import summary
from tests.parallel.collectives import partitions, read


def test_partitions():
    assert partitions() == read("partitions")


def test_the_summary_counts_loops():
    hlo = """HloModule m

%body (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %r = f32[2]{0} all-reduce(%p), to_apply=%add
}

ENTRY %main (a: f32[4]) -> f32[2] {
  %a = f32[4]{0} parameter(0)
  %g = (f32[4]{0}, s32[3,2]{1,0}) all-gather(%a, %b), dimensions={0}
  ROOT %w = f32[2]{0} while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""
    assert summary(hlo) == {
        "all-gather": {"instructions": 1, "bytes": 40},
        "all-reduce": {"instructions": 1, "bytes": 40},
    }
