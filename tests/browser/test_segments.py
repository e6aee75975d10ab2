"""The counter beside a text counts as the server does: against the calculators of tests/linkit/segment_vectors.json."""

from __future__ import annotations

import json

import pytest

from tests import services
from tests.browser import pages

pytestmark = [pytest.mark.postgres, pytest.mark.e2e, pytest.mark.xdist_group("en")]

RECORDED = json.loads((services.ROOT / "tests/linkit/segment_vectors.json").read_text(encoding="utf-8"))
_COUNT = "(texts) => texts.map((text) => { const found = smsSegments(text); return [found.encoding, found.count]; })"


def test_the_browser_counts_like_the_server(visit, product):
    me = visit("en")
    me.log_in(product.printed("E-mail"), product.printed("Password"))
    me.follow(pages.SEND_ONE)
    agreed = [(text, encoding, count) for text, encoding, count in RECORDED["vectors"]]
    agreed += [(text, encoding, second) for text, encoding, _first, second in RECORDED["disagreements"]]
    counted = me.page.evaluate(_COUNT, [text for text, _, _ in agreed])
    assert len(counted) > 900
    wrong = [(vector, found) for vector, found in zip(agreed, counted, strict=True) if found != list(vector[1:])]
    assert wrong == []
