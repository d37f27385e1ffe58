"""What is said of programs that can't be read; `tests/parallel` reads real ones."""

import pytest

from scenarioclip_jax.costs.collectives import collectives

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
