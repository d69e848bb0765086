from __future__ import annotations

import re

from penstock.server.docs import errors_page


def test_every_kind_of_problem_has_one_place_on_the_page():
    anchors = re.findall(r'<h2 id="([^"]+)">', errors_page())

    assert {"internal", "bad-request", "blocked-address", "too-large"} <= set(anchors)
    assert len(anchors) == len(set(anchors))


def test_the_place_tells_of_the_kind_itself_not_of_one_below_it():
    page = errors_page()

    told = page.split('<h2 id="blocked-address">')[1].split("</h2>")[1].split("<h2")[0]
    assert "The address may not be dialled from here." in told
