from __future__ import annotations

import json

import pytest

from nasion.engines.errors import ModelError
from nasion.engines.spec import Spec

SPEC = Spec(task="landmarks", name="x", size=(112, 112), landmarks=68, crop_margin=1.35, mean=(1.0, 2.0, 3.0))


def test_a_spec_survives_the_journey_through_json() -> None:
    assert Spec.from_json(SPEC.to_json()) == SPEC


def test_a_spec_of_another_version_is_refused_by_name() -> None:
    values = json.loads(SPEC.to_json()) | {"colour": "blue"}
    with pytest.raises(ModelError, match=r"m\.onnx: its spec has unknown entries \['colour'\].*export it again"):
        Spec.from_json(json.dumps(values), origin="m.onnx")


def test_a_spec_that_lacks_its_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"lacks \['size'\]"):
        Spec.from_json('{"task": "detector", "name": "d"}')


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(ModelError, match="not JSON"):
        Spec.from_json("{")
