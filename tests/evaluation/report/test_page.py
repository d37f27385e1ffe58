"""Pages of any labels."""

from scenarioclip_jax.evaluation.report.page import render


def test_labels_are_escaped_and_what_a_page_cannot_hold_is_replaced(tmp_path):
    template = tmp_path / "page.html"
    template.write_text("<p>{{ label }}</p>{% for one in labels %}<i>{{ one }}</i>{% endfor %}")
    page = render(template, label="<b>\x00\x1b\x85\ud83d", labels=["a\tb\nc", "犬 \u2028 🐕"])
    assert page == ("<p>&lt;b&gt;\ufffd\ufffd\ufffd\ufffd</p><i>a\tb\nc</i><i>犬 \u2028 🐕</i>")
    page.encode("utf-8")
