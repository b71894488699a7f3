"""The smallest thing that can be trained: a line; and a small supernet, whose weights and factors learn in alternation.

Run as a module, both train under torchrun and their weights are written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nasion.engines.spec import Spec
from nasion.trainers.data.samples import FaceItem
from nasion.trainers.learner import Learner
from nasion.trainers.systems import recipe_named
from nasion.trainers.systems.sd_hrnet.distilling import SupernetLearner
from nasion.trainers.training import processes
from nasion.trainers.training.loop import Optimiser, Schedule, State, train
from nasion.trainers.training.recipes import Options

SCHEDULE = Schedule(
    steps=40,
    batch=4,
    optimisers=(Optimiser(learning_rate=0.3, warmup=5),),
    validate_every=10,
    report_every=10,
    ema=0.9,
    clip=5.0,
)


ALTERNATING = Schedule(
    steps=12,
    batch=4,
    optimisers=(
        Optimiser("sgd", learning_rate=0.1, momentum=0.9, drops=(), objective="slope"),
        Optimiser("adam", learning_rate=0.1, drops=(), objective="offset"),
    ),
    validate_every=6,
)


class Line(Dataset[tuple[Tensor, Tensor]]):
    """Points on y = 3x - 1."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(1, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return x, 3 * x - 1


class LineLearner(Learner):
    """Learns a line; a little noise of torch's own stands for dropout."""

    spec = Spec(task="landmarks", name="line", size=(1, 1))

    def __init__(self, *, noise: float = 0.01) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear, self.noise = nn.Linear(1, 1), noise

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"y": self.linear(images)}

    def losses(self, batch: list[Tensor], objective: str) -> dict[str, Tensor]:
        x, y = batch
        found = self(x)["y"] + self.noise * torch.randn(len(x), 1)
        return {"square": ((found - y) ** 2).mean()}


class AlternatingLearner(LineLearner):
    """Slope and offset learn in alternation, two steps of the one to one of the other."""

    def __init__(self, *, noise: float = 0.01) -> None:
        super().__init__(noise=noise)
        self.done: list[int] = []
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def objective(self, step: int) -> str:
        return "offset" if step % 3 == 0 else "slope"

    def trained(self, objective: str) -> list[nn.Parameter]:
        return [self.linear.bias if objective == "offset" else self.linear.weight]

    def losses(self, batch: list[Tensor], objective: str) -> dict[str, Tensor]:
        """A step of the slope leaves the offset out of the graph."""
        x, y = batch
        offset = self.linear.bias if objective == "offset" else self.linear.bias.detach()
        return {objective: ((x * self.linear.weight + offset - y) ** 2).mean()}

    def on_step(self, step: int) -> None:
        self.done.append(step)
        self.get_buffer("seen").add_(1)


def line(*, noise: float = 0.01) -> LineLearner:
    return LineLearner(noise=noise)


def numbers(module: nn.Module) -> list[float]:
    return [float(value.detach()) for value in module.parameters()]


FACTORS_AND_WEIGHTS = Schedule(
    steps=4,
    batch=4,
    optimisers=tuple(
        Optimiser("sgd", learning_rate=0.1, drops=(), objective=objective) for objective in ("importance", "weights")
    ),
)


class Crops(Dataset[FaceItem]):
    """Noise with points anywhere."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> FaceItem:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 32, 32, generator=generator)
        points = torch.rand(68, 2, generator=generator) * 32
        return {"image": image, "points": points, "known": torch.ones(68), "visible": torch.ones(68)}


def supernet() -> SupernetLearner:
    """Return a supernet with frozen batch normalisation, which DDP would compute per process."""
    torch.manual_seed(3)
    learner = recipe_named("sd-hrnet-supernet").build(Options(size=32, width=0.1, minutes=1))
    assert isinstance(learner, SupernetLearner)
    learner.passes = (1, 1)
    for module in learner.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            vars(module)["train"] = lambda mode=True, module=module: module
    return learner


def weights(module: nn.Module) -> Tensor:
    """All parameters in one row."""
    return torch.cat([each.detach().flatten() for each in module.parameters()])


def run(folder: Path, schedule: Schedule = SCHEDULE, learner: Learner | None = None, **options: object) -> State:
    return train(learner or line(), Line(), schedule, folder, **options)  # type: ignore[arg-type]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def main(folder: Path) -> None:
    with processes.joined(torch.device("cpu")) as device:
        state = train(line(noise=0), Line(), SCHEDULE, folder, device=device, validate=lambda _: {"loss": 1.0})
        alternating = train(AlternatingLearner(noise=0), Line(), ALTERNATING, folder / "alternating", device=device)
        small = train(supernet(), Crops(), FACTORS_AND_WEIGHTS, folder / "supernet", device=device)
        torch.save(weights(small.learner), folder / f"supernet{processes.rank()}.pt")
        result = {"weights": numbers(state.learner), "alternating": numbers(alternating.learner), "best": state.best}
        (folder / f"rank{processes.rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
