from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nasion.engines.errors import ModelError
from nasion.engines.runtime import open_runtime
from nasion.tools.export import export
from nasion.trainers.export import load_trained
from nasion.trainers.loop import Schedule, train
from nasion.trainers.recipes import LANDMARKS_68


class Nothing(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(1)

    def __len__(self) -> int:
        return 1 << 40


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the landmark recipe that learned nothing, as nasion train leaves it."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(1)

    def losses(model: nn.Module, _: Tensor) -> dict[str, Tensor]:
        return {"none": sum(p.sum() for p in model.parameters()) * 0}  # type: ignore[dict-item]

    train(
        LANDMARKS_68.build(),
        Nothing(),
        losses,
        Schedule(1, 1, 1e-3),
        folder,
        description={"recipe": "landmarks-68"},
    )
    return folder / "best.pt"


def test_a_checkpoint_becomes_a_file_that_agrees_with_torch(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "landmarks.onnx"
    export(checkpoint, out=out, card=True)
    printed = capsys.readouterr().out
    differences = [float(line.rsplit(" ", 1)[1]) for line in printed.splitlines() if "worst difference" in line]
    assert len(differences) == 3
    assert max(differences) < 1e-3
    with open_runtime(out) as runtime:
        assert runtime.spec == LANDMARKS_68.spec
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert card["bytes"] == out.stat().st_size <= 4_000_000
    assert "research" in card["licence"]
    assert card["recipe"]["parameters"] > 100_000


def test_a_format_that_we_do_not_write_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"suffix '\.tflite'; allowed: \.onnx, \.pt2"):
        export(checkpoint, out=tmp_path / "x.tflite")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        load_trained(tmp_path / "none.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match=r"broken\.pt"):
        load_trained(tmp_path / "broken.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="not a checkpoint of nasion train"):
        load_trained(tmp_path / "other.pt")
