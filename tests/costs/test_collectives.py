"""What is said of programs that can't be read; `tests/parallel` reads real ones."""

import pytest

from scenarioclip_jax.costs.collectives import Collective, collectives

LOOP = """
ENTRY main (p: f32[4]) -> f32[4] {
  ROOT w = f32[4] while(p), condition=c
}
"""


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no computation marked ENTRY"):
        collectives(LOOP.replace("ENTRY ", "%"))


def test_an_instruction_without_what_its_kind_has_is_shown():
    text = "c (p: f32[4]) -> pred[] {\n  ROOT a = pred[] constant(true)\n}\n" + LOOP.strip()
    with pytest.raises(ValueError, match=r"body=.*ROOT w = f32\[4\] while"):
        collectives(text)


def test_reductions_that_another_core_does_are_counted():
    """As libtpu writes them for TPU7x, whose SparseCores do them while the other cores compute."""
    text = """
%reduced (p: f32[8,4]) -> f32[8,4] {
  ROOT %r = f32[8,4]{1,0} all-reduce(%p), replica_groups=mesh['x'=8] {'x'}, to_apply=%add
}

ENTRY %main (p: f32[8,4]) -> f32[8,4] {
  %s = ((f32[8,4]{0,1:T(8,128)}, token[]), f32[8,4]{0,1}) call-start(%p), to_apply=%reduced
  ROOT %d = f32[8,4]{1,0} call-done(%s)
}
"""
    assert collectives(text) == [Collective("all-reduce", "f32[8,4]{1,0}", 128, 1, 8)]


GATHERING = """
%body (t: (f32[4,4], u32[])) -> (f32[4,4], u32[]) {
  %c = u32[]{:T(128)} constant(STEP)
  %t = (f32[4,4]{1,0}, u32[]{:T(128)}) parameter(0)
  %x = f32[4,4]{1,0} get-tuple-element(%t), index=0
  %i = u32[]{:T(128)} get-tuple-element(%t), index=1
  %p = f32[4,4]{1,0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}
  %next = u32[]{:T(128)} add(%i, %c)
  ROOT %r = (f32[4,4]{1,0}, /*index=1*/u32[]{:T(128)}) tuple(%p, /*index=1*/%next)
}

%condition (t: (f32[4,4], u32[])) -> pred[] {
  %n = u32[]{:T(128)} constant(4)
  %t = (f32[4,4]{1,0}, u32[]{:T(128)}) parameter(0)
  %i = u32[]{:T(128)} get-tuple-element(%t), index=1
  ROOT %less = pred[]{:T(512)} compare(%i, %n), direction=LT
}

ENTRY %main (t: (f32[4,4], u32[])) -> (f32[4,4], u32[]) {
  %t = (f32[4,4]{1,0}, u32[]{:T(128)}) parameter(0)
  ROOT %w = (f32[4,4]{1,0}, u32[]{:T(128)}) while(%t), condition=%condition, body=%body
}
"""


@pytest.mark.parametrize(("step", "times"), [(1, 4), (2, 2), (3, 2)])
def test_loops_that_gather_a_matrix_may_count_in_steps_of_two(step, times):
    """As libtpu writes them where parameters are split along `fsdp`."""
    (found,) = collectives(GATHERING.replace("STEP", str(step)))
    assert (found.kind, found.bytes, found.times) == ("collective-permute", 64, times)
