"""Cameras as a source: what they are asked for, those that do not open, those that are listed."""

from __future__ import annotations

import logging

import cv2
import pytest

from nasion.engines.errors import SourceError
from nasion.realtime.sources import Camera, cameras, list_cameras, open_source

from ...support.media.source_samples import FakeCapture, camera

__all__ = ["camera"]  # a fixture


def test_a_camera_is_asked_for_size_and_rate_and_its_answer_is_logged(
    camera: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: dict[int, float] = {}
    monkeypatch.setattr(FakeCapture, "set", lambda self, what, value: asked.update({what: value}) or True)
    with caplog.at_level(logging.WARNING), open_source(0, size=(640, 480), fps=25) as source:
        assert (source.info.name, source.info.width, source.info.height) == ("camera 0", 64, 48)
    sizes = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS
    assert [asked[what] for what in sizes] == [640, 480, 25]
    assert "camera 0: 640x480 requested, 64x48 delivered" in caplog.text


def test_a_camera_that_cannot_be_opened_says_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"camera 63 cannot be opened; .*close other programs .* nasion doctor"):
        open_source(63)
    with pytest.raises(SourceError, match="camera -1 does not exist; cameras count from 0"):
        open_source(-1)
    assert capfd.readouterr() == ("", "")


def test_only_cameras_that_open_are_listed(camera: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "_numbers", lambda: [0, 1, 2])
    assert list_cameras() == [Camera(0, 64, 48)]
    assert FakeCapture.opened == 0
    monkeypatch.setattr(cameras, "_numbers", list)
    assert list_cameras() == []
