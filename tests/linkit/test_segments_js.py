"""What the browser counts while somebody types: by the rules of linkit/encoding.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from linkit import encoding
from tests.linkit.test_segment_vectors import RECORDED

SCRIPT = Path(__file__).parents[2] / "linkit/static/linkit/segments.js"
# Counts texts, read as JSON from standard input; each answer with the text put together again from its runs.
_COUNT = """
const { readFileSync } = require("node:fs");
const count = require("node:vm").runInThisContext(readFileSync(process.argv[1], "utf8") + "; smsSegments");
const whole = (found) => found.runs.map((run) => run.text).join("");
const outside = (found) => found.runs.filter((run) => run.isOutside).map((run) => run.text).join("");
const texts = JSON.parse(readFileSync(0, "utf8"));
const facts = (found) => [found.encoding, found.count, found.left, whole(found), outside(found)];
const answers = texts.map(count).map(facts);
console.log(JSON.stringify(answers));
"""


def test_the_alphabet_and_the_lengths_are_those_of_the_server():
    source = SCRIPT.read_text(encoding="utf-8")
    basic, extension = re.findall(r"new Set\(\s*(.*?),?\s*\);", source, re.DOTALL)
    literals = re.findall(r'"(?:[^"\\]|\\.)*"', basic)
    assert "".join(map(json.loads, literals)) == encoding.GSM7_BASIC
    assert json.loads(extension) == encoding.GSM7_EXTENSION
    lengths = re.findall(r"\[(\d+), (\d+)\]", source)
    assert [tuple(map(int, pair)) for pair in lengths] == [
        (encoding.GSM7_SINGLE, encoding.GSM7_SEGMENT),
        (encoding.UCS2_SINGLE, encoding.UCS2_SEGMENT),
    ]


def test_every_vector_is_counted_alike():
    node = shutil.which("node")
    if node is None:
        pytest.skip("There is no Node.js; the browser tests count them in Chromium.")
    vectors = [(text, name, count) for text, name, count in RECORDED["vectors"]]
    vectors += [(text, name, count) for text, name, _, count in RECORDED["disagreements"]]
    ran = subprocess.run(
        [node, "-e", _COUNT, str(SCRIPT)],
        input=json.dumps([text for text, _, _ in vectors]),
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    answers = json.loads(ran.stdout)
    assert len(answers) == len(vectors) > 900
    for (text, name, count), (ours, counted, left, whole, outside) in zip(vectors, answers, strict=True):
        assert (ours, counted, whole) == (name, count, text)
        assert outside == "".join(character for _, character in encoding.outside_gsm7(text))
        # As many units as are left may follow, and not one more.
        filler = "a" if name != encoding.Encoding.UCS2 else "م"
        assert encoding.segments(text + filler * left).count == count
        assert encoding.segments(text + filler * (left + 1)).count == count + 1
