"""``nasion blinks``: the blinks in a landmark file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasion.realtime.faces.face import Face
from nasion.realtime.faces.frame import Frame
from nasion.realtime.faces.measured import EyeOpening
from nasion.realtime.sinks import Header, open_sinks
from nasion.tools.commands.blinks import blinks

from ...support.media.sink_samples import INFO, LANDMARKS


@pytest.mark.parametrize("suffix", LANDMARKS)
@pytest.mark.parametrize("measures", [("eyes",), ()])
def test_blinks_of_a_file_are_listed(
    tmp_path: Path, suffix: str, measures: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"faces{suffix}"
    points = np.random.default_rng(0).uniform(10, 40, (68, 2)).astype(np.float32)
    with open_sinks(landmarks=path, info=INFO, header=Header.of(INFO, measures=measures)) as sinks:
        for index in range(75):
            opening = 0.1 if 40 <= index < 44 else 0.3
            lids = points.copy()
            for left, right, pairs in ((36, 39, ((37, 41), (38, 40))), (42, 45, ((43, 47), (44, 46)))):
                lids[[left, right]] = (10, 20), (30, 20)
                for upper, lower in pairs:
                    lids[[upper, lower]] = (20, 20 - 10 * opening), (20, 20 + 10 * opening)
            face = Face(3, np.zeros(4), 1.0, lids, np.ones(68), eye_opening=EyeOpening(opening, opening))
            sinks.write(Frame(np.zeros((48, 64, 3), np.uint8), index / 25, index), [face])
    blinks(path, json=tmp_path / "blinks.json")
    text = capsys.readouterr().out
    assert "   3     1.56     1.76        0.20" in text
    assert "face 3: 1 blinks in 3.0 s, 20.3 a minute" in text
    (blink,) = json.loads((tmp_path / "blinks.json").read_text())["blinks"]
    assert (blink["id"], blink["start"], blink["end"]) == (3, 1.56, 1.76)
    assert blink["depth"] == pytest.approx(1 / 3, abs=0.02)
