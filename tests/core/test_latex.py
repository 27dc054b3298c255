"""No name of anybody's can break a table."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from core.latex import escape

ESCAPED = r"\\text(?:backslash|asciitilde|asciicircum|bar)\{\}|\\[&%$#_{}]|\$(?:[<>]|\\approx|\\to|\\times)\$|\{[\[*]\}"


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_what_is_left_of_a_name_means_nothing_to_latex(name: str):
    assert not re.search(r'[\\&%$#_{}~^|"\[*\n\r]', re.sub(ESCAPED, "", escape(name)))
