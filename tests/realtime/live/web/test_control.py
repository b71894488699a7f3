"""The control API: sources listed, added, paused, resumed and removed, and its description."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from .conftest import BASE

SECRET = "rtsp://admin:hunter2@camera.local:8554/live?token=abcdef"


def test_an_ended_source_is_neither_paused_nor_resumed(client: TestClient, hub) -> None:
    hub.change("door", state="ended")
    for paused in (True, False):
        answer = client.patch("/api/sources/door", json={"paused": paused})
        assert answer.status_code == 409
        assert "has ended" in answer.json()["error"]
    assert hub.source("door").state == "ended"


def test_sources_are_added_shown_paused_resumed_and_removed(client: TestClient, hub) -> None:
    given = {"source": "pattern:live", "name": "hall", "max_fps": 5, "roi": [0, 0, 64, 36], "loop": True}
    added = client.post("/api/sources", json=given)
    assert added.status_code == 201
    assert added.headers["location"] == "/api/sources/hall"
    assert (added.json()["name"], added.json()["state"]) == ("hall", "connecting")
    (spec,) = hub.given
    assert (spec.source, spec.max_fps, spec.roi, spec.loop) == ("pattern:live", 5, (0, 0, 64, 36), True)
    assert [each["name"] for each in client.get("/api/sources").json()["sources"]] == ["door", "yard", "hall"]
    assert client.patch("/api/sources/hall", json={"paused": True}).json()["state"] == "paused"
    assert client.patch("/api/sources/hall", json={"paused": False}).json()["state"] == "live"
    assert client.get("/api/sources/hall").json()["address"] == "pattern:live"
    removed = client.delete("/api/sources/hall")
    assert (removed.status_code, removed.content) == (204, b"")
    assert client.get("/api/sources/hall").status_code == 404


def test_a_source_without_a_name_gets_one(client: TestClient) -> None:
    assert client.post("/api/sources", json={"source": 0}).json()["name"] == "camera-0"
    assert client.post("/api/sources", json={"source": SECRET, "name": None}).json()["name"] == "camera-local-8554-live"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "source is an address"),
        ({"source": ""}, "source is an address"),
        ({"source": True}, "source is an address"),
        ({"source": ["a"]}, "source is an address"),
        ({"source": "-"}, "standard input"),
        ({"source": "/dev/stdin"}, "standard input"),
        ({"source": "nothing.mp4"}, "does not exist"),
        ({"source": "gopher://u:hunter2@h/s"}, "not supported"),
        ({"source": "pattern:live", "name": "../door"}, "letters"),
        ({"source": "pattern:live", "name": "door"}, "exists already"),
        ({"source": "pattern:live", "name": 5}, "name is a text"),
        ({"source": "pattern:live", "max_fps": "5"}, "max_fps is a number"),
        ({"source": "pattern:live", "max_fps": -5}, "max_fps=-5"),
        ({"source": "pattern:live", "roi": [1, 2, 3]}, "roi is a list"),
        ({"source": "pattern:live", "roi": [0, 0, 0, 0]}, "roi="),
        ({"source": "pattern:live", "loop": 1}, "loop is true or false"),
        ({"source": "pattern:live", "password": "hunter2"}, "'password' is not a key"),
        ([], "must be a JSON object"),
    ],
)
def test_mistakes_are_answered_with_what_is_allowed(client: TestClient, body: object, said: str) -> None:
    answer = client.post("/api/sources", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 9000, b'{"source": NaN}'])
def test_a_body_other_than_json_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/api/sources", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_a_form_of_another_page_is_refused(client: TestClient) -> None:
    text = json.dumps({"source": "pattern:live"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert client.post("/api/sources", content=text, headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("body", [{}, {"paused": 1}, {"paused": "yes"}, {"paused": True, "name": "x"}])
def test_a_change_says_whether_the_source_is_paused(client: TestClient, body: object) -> None:
    assert client.patch("/api/sources/door", json=body).status_code == 400


def test_unknown_sources_paths_and_methods(client: TestClient) -> None:
    for method, json_body in (("GET", None), ("PATCH", {"paused": True}), ("DELETE", None)):
        answer = client.request(method, "/api/sources/none", json=json_body)
        assert answer.status_code == 404
        assert "none" in answer.json()["error"]
    assert client.get("/api/sources/none/landmarks").status_code == 404
    assert client.get("/nothing").status_code == 404
    assert client.post("/api/sources/door").status_code == 405
    assert client.put("/", content=b"").status_code == 405


def test_a_password_in_an_address_is_in_no_answer(client: TestClient, hub, caplog) -> None:
    caplog.set_level("DEBUG")
    added = client.post("/api/sources", json={"source": SECRET, "name": "safe"})
    taken = client.post("/api/sources", json={"source": SECRET, "name": "safe"})
    wrong = client.post("/api/sources", json={"source": SECRET.replace("rtsp", "gopher")})
    bad = client.post("/api/sources", json={"source": SECRET, "max_fps": 0})
    assert [each.status_code for each in (added, taken, wrong, bad)] == [201, 400, 400, 400]
    paths = ("/", "/api/sources", "/api/sources/safe", "/metrics", "/openapi.json", "/healthz")
    texts = [each.text for each in (added, taken, wrong, bad, *map(client.get, paths))]
    with client.websocket_connect("ws://127.0.0.1:8765/api/tiles") as socket:
        while '"safe"' not in texts[-1]:
            texts.append(socket.receive_text())
    for text in (*texts, caplog.text):
        assert "hunter2" not in text
        assert "abcdef" not in text


def test_the_description_is_valid_and_names_every_route_of_the_api(client: TestClient) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    described = client.get("/openapi.json").json()
    validator.validate(described)
    routes = client.app._app.routes
    served = {
        (route.path, method)
        for route in routes
        if isinstance(route, Route) and route.path.startswith(("/api", "/metrics", "/healthz"))
        for method in route.methods - {"HEAD"}
    }
    written = {
        (path, method.upper()) for path, item in described["paths"].items() for method in item if method != "parameters"
    }
    assert written == served


def test_the_status_has_the_keys_of_the_description(client: TestClient, hub) -> None:
    described = json.loads(files("nasion.realtime.live.web").joinpath("page", "openapi.json").read_text())
    schemas = described["components"]["schemas"]
    status = client.get("/api/sources").json()
    assert set(status) == set(schemas["HubStatus"]["properties"])
    assert set(status["sources"][0]) == set(schemas["SourceStatus"]["properties"])


def test_the_location_is_below_the_root_path(connect) -> None:
    client = TestClient(connect().app, BASE, root_path="/faces")
    added = client.post("/faces/api/sources", json={"source": "pattern:live", "name": "hall"})
    assert added.headers["location"] == "/faces/api/sources/hall"
