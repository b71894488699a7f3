"""Sources as users name them: names, addresses without passwords, files of sources."""

import pytest

from nasion.engines.errors import NasionError
from nasion.realtime.live.specs import SourceSpec, read_specs

SECRET = "rtsp://admin:hunter2@camera.local:8554/live?token=abc"


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("door=rtsp://a.b/s", "door", "rtsp://a.b/s"),
        ("rtsp://a.b/s?x=y", "", "rtsp://a.b/s?x=y"),
        ("0", "", "0"),
        ("front=/dev/video1", "front", "/dev/video1"),
        ("p=pattern:live?seconds=3&seed=1", "p", "pattern:live?seconds=3&seed=1"),
        ("pattern:live?seconds=3", "", "pattern:live?seconds=3"),
    ],
)
def test_a_name_before_the_first_equals_sign_names_the_source(text, name, source):
    spec = SourceSpec.parse(text)
    assert (spec.name, spec.source) == (name, source)


def test_a_file_with_an_equals_sign_in_its_name_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").write_bytes(b"x")
    assert SourceSpec.parse("a=b.mp4") == SourceSpec("a=b.mp4")


@pytest.mark.parametrize("text", ["a b=0", "a b=no-file", "é=0", "=0", "-a=0", f"{65 * 'a'}=0"])
def test_a_name_that_is_not_allowed_is_named_with_the_rule(text):
    with pytest.raises(NasionError, match=r"name.*1 to 64 letters"):
        SourceSpec.parse(text)


def test_neither_address_nor_repr_shows_a_password():
    spec = SourceSpec(SECRET)
    for text in (spec.address, repr(spec), spec.named(())):
        assert "hunter2" not in text
        assert "abc" not in text
    assert spec.address == "rtsp://***@camera.local:8554/live?***"


@pytest.mark.parametrize(
    "text",
    [
        "a=rtsp:/admin:hunter2@127.0.0.1:1/x",
        "admin:hunter2@127.0.0.1:1/x",
        "a=rtsp//admin:hunter2@127.0.0.1:1/x",
        "admin:hunter2@rtsp://127.0.0.1:1/x",
        "a = rtsp:/admin:hunter2@127.0.0.1:1/x",
        "rtsp:/admin:hunter2@127.0.0.1:1/" + 90 * "x",
        "pattern:admin:hunter2@127.0.0.1:1/x",
    ],
)
def test_a_mistyped_address_is_refused_without_its_password(text):
    with pytest.raises(NasionError, match=r"\*\*\*@.*127\.0\.0\.1:1|\*\*\*@127") as caught:
        SourceSpec.parse(text)
    assert "hunter2" not in str(caught.value)
    assert "admin" not in str(caught.value)


def test_the_scheme_of_an_address_is_read_in_lower_case():
    assert SourceSpec.parse("door=RTSP://User:Pass@Host/Path").source == "rtsp://User:Pass@Host/Path"


def test_names_are_derived_from_addresses_and_differ():
    assert SourceSpec(SECRET).named(()) == "camera-local-8554-live"
    assert SourceSpec(0).named(["camera-0"]) == "camera-0-2"
    assert SourceSpec("/dev/video3").named(()) == "camera-3"
    with pytest.raises(NasionError, match="exists already"):
        SourceSpec(0, "door").named(["door"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "nothing.mp4"}, "does not exist"),
        ({"source": "gopher://a/b"}, "not supported"),
        ({"source": ""}, "empty"),
        ({"source": 2**30}, "does not exist"),
        ({"source": "pattern:fast"}, "not a pattern"),
        ({"source": 0, "name": "a b"}, "letters"),
        ({"source": 0, "max_fps": 0}, "max_fps=0 is not allowed"),
        ({"source": 0, "roi": (0, 0, 0, 5)}, "roi="),
        ({"source": 0, "roi": "1234"}, "roi="),
    ],
)
def test_what_cannot_be_a_source_is_refused_without_opening_it(values, message):
    with pytest.raises(NasionError, match=message):
        SourceSpec(**values)


def test_a_protocol_that_ffmpeg_lacks_is_named(monkeypatch):
    monkeypatch.setattr("nasion.realtime.sources.has_protocol", lambda scheme: False)
    with pytest.raises(NasionError, match="srt://camera:9000: the FFmpeg of the installed PyAV is built without SRT"):
        SourceSpec("srt://camera:9000")


def test_a_file_of_sources(tmp_path):
    path = tmp_path / "sources.toml"
    path.write_text('door = "0"\n[yard]\nsource = "rtsp://u:p@h/s"\nmax_fps = 5\nroi = [0, 0, 64, 48]\n')
    door, yard = read_specs(path, max_fps=10.0)
    assert (door.name, door.source, door.max_fps) == ("door", "0", 10)
    assert (yard.name, yard.source, yard.max_fps, yard.roi) == ("yard", "rtsp://u:p@h/s", 5, (0, 0, 64, 48))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[door]\nurl = 'rtsp://u:hunter2@h/s'", "unknown entry 'url'"),
        ("[door]\nmax_fps = 3", "no entry 'source'"),
        ("[door]\nsource = 'rtsp://u:hunter2@h/s", "not TOML"),
        ("[door]\nsource = 'gopher://u:hunter2@h/s'", r"\[door\]: gopher"),
        ("[door]\nsource = ['rtsp://u:hunter2@h/s']", r"\[door\]: the source is \['rtsp://\*\*\*@h"),
        ("door = 'rtsp:/u:hunter2@h/s'", r"\[door\]: 'rtsp:/\*\*\*@h/s' does not exist"),
        ("[door]\nsource = 0\nroi = 'rtsp://u:hunter2@h/s'", r"roi='rtsp://\*\*\*@h/s' is not allowed"),
        ("[door]\nsource = 0\nmax_fps = 'rtsp://u:hunter2@h/s'", "max_fps='rtsp"),
        ("[door]\nsource = 0\n'rtsp://u:hunter2@h/s' = 1", "unknown entry"),
        ("'rtsp://u:hunter2@h/s' = 0", "letters"),
        ("['rtsp://u:hunter2@h/s']\nmax_fps = 3", "no entry 'source'"),
    ],
)
def test_mistakes_in_a_file_of_sources_are_named_without_passwords(tmp_path, content, message):
    path = tmp_path / "sources.toml"
    path.write_text(content)
    with pytest.raises(NasionError, match=message) as caught:
        read_specs(path)
    assert "hunter2" not in str(caught.value)
