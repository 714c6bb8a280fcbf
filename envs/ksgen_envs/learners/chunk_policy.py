"""The network: reads the robot, the things, the words and the condition as tokens, predicts a chunk of actions.

After Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (ACT, RSS 2023): chunks of
actions, an L1 loss. There is no latent variable, since the demonstrations come from one expert with one manner. Two
things help a small network to be exact: distances are given twice, in metres and squashed so that millimetres near
zero weigh as much as decimetres far off; and each thing's token says how far it is from where the condition points.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ksgen_envs.goal_env import goals
from ksgen_envs.goal_env.observation import SLOT_SIZE
from ksgen_envs.learners import condition as c
from ksgen_envs.learners.inputs import WORDS, InputSpec
from ksgen_envs.robot.gripper import STATE_SIZE
from ksgen_models.errors import InvalidInput

ACTION_SIZE = 5
_NEAR = 0.02  # metres; much nearer and much farther than this look different
_PLACE, _AWAY = slice(1, 4), slice(4, 7)  # of a slot
_POINTED = 4  # numbers that say how far a slot is from where the condition points
_LED = 6  # and how far the tool is


@dataclass(frozen=True)
class PolicySpec:
    """A policy's form.

    Attributes:
        inputs: what it takes.
        chunk: actions that it predicts at a time.
        width, layers, heads: of the transformer.
    """

    inputs: InputSpec
    chunk: int = 20
    width: int = 128
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.chunk, self.layers, self.heads, self.width) < 1 or self.width % self.heads or self.width % 8:
            raise InvalidInput(
                f"{self}: need at least 1 action, layer and head, and a width that 8 and the heads divide"
            )


class ChunkPolicy(nn.Module):
    """Inputs (B, ...) of `ksgen_envs.learners.inputs` to actions (B, K, 5), not yet cut to [−1, 1].

    Args:
        spec: its form.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        self.spec = spec
        width, size = spec.width, c.CONDITION_SIZE[spec.inputs.kind]
        self.robot_scale = _Scale(STATE_SIZE)
        self.slot_scale = _Scale(SLOT_SIZE)
        self.condition_scale = _Scale(size)
        self.action_scale = _Scale(ACTION_SIZE)
        self.robot = nn.Linear(STATE_SIZE + 2 * _LED, width)
        self.slot = nn.Linear(SLOT_SIZE + 3 + 2 * _POINTED, width)
        self.condition = nn.Linear(size, width)
        self.name, self.task, self.sentence = (nn.Linear(WORDS, width, bias=False) for _ in range(3))
        self.kinds = nn.Parameter(0.02 * torch.randn(4, width))
        self.eyes = _Eyes(width) if spec.inputs.pixels else None
        self.body = nn.ModuleList(_Layer(width, spec.heads) for _ in range(spec.layers))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, spec.chunk * ACTION_SIZE)
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, K, 5)."""
        robot, condition = inputs["robot"], inputs["condition"]
        used = int((inputs["slots"][..., 0] > 0.5).any(dim=0).sum())  # slots are filled from the first on
        slots, names = inputs["slots"][:, :used], inputs["names"][:, :used]
        there = slots[..., :1]  # (B, S, 1)
        pointed, led = self._pointing(robot, slots, condition)
        slots_seen = torch.cat([self.slot_scale(slots), squash(slots[..., _AWAY]), pointed, squash(pointed)], dim=-1)
        slot_tokens = (self.slot(slots_seen) + self.name(names) + self.kinds[1]) * there
        tokens = [
            (self.robot(torch.cat([self.robot_scale(robot), led, squash(led)], dim=-1)) + self.kinds[0])[:, None],
            slot_tokens,
            (self.task(inputs["task"]) + self.kinds[2])[:, None],
            (self.condition(self.condition_scale(condition)) + self.sentence(inputs["sentence"]) + self.kinds[3])[
                :, None
            ],
        ]
        if self.eyes is not None:
            tokens.append(self.eyes(inputs["pixels"]))
        whole = torch.cat(tokens, dim=1)  # (B, N, width)
        absent = torch.zeros(whole.shape[:2], dtype=torch.bool, device=whole.device)
        absent[:, 1 : 1 + slots.shape[1]] = there[..., 0] < 0.5
        for layer in self.body[:-1]:
            whole = layer(whole, whole, absent)
        read = self.body[-1](whole[:, :1], whole, absent)[:, 0]  # nobody looks at the other tokens after that
        chunk = self.head(read).unflatten(-1, (self.spec.chunk, ACTION_SIZE))
        return self.action_scale.back(chunk)

    def _pointing(self, robot: Tensor, slots: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        # How far each slot (B, S, 4) and the tool (B, 6) are from where the condition points; zeros where it does not.
        place, tool = slots[..., _PLACE], robot[..., :3]
        if self.spec.inputs.kind == "goal":
            desired, achieved = condition[..., _DESIRED], condition[..., _ACHIEVED]
            there = desired[..., goals.POSITION]
            this = desired[..., goals.THING, None][..., : place.shape[-2], :]
            pointed = torch.cat([this, (there[..., None, :] - place) * this], dim=-1)
            return pointed, torch.cat([there - tool, there - achieved[..., goals.POSITION]], dim=-1)
        hand = condition[..., c.HAND, None]
        rays = [condition[..., part] for part in (c.GRASP, c.RELEASE)]
        pointed = torch.cat([_at_height(ray[..., None, :], place[..., 2:]) - place[..., :2] for ray in rays], dim=-1)
        led = torch.cat([_at_height(ray, tool[..., 2:]) - tool[..., :2] for ray in rays], dim=-1)
        return pointed * hand[..., None], functional.pad(led * hand, (0, _LED - led.shape[-1]))


_DESIRED = slice(c.VERB_SIZE, c.VERB_SIZE + goals.GOAL_SIZE)
_ACHIEVED = slice(_DESIRED.stop, _DESIRED.stop + goals.GOAL_SIZE)


def squash(distance: Tensor) -> Tensor:
    """Distances in metres to (−1, 1), steepest at zero."""
    return distance / (distance.abs() + _NEAR)


def _at_height(ray: Tensor, height: Tensor) -> Tensor:
    """(..., 2) where rays (..., 4) are at heights (..., 1) over the table."""
    low, high = ray[..., :2], ray[..., 2:]
    return low + (high - low) * ((height - c.LOW) / (c.HIGH - c.LOW))


class _Layer(nn.Module):
    """A transformer's layer, normalised first: some tokens (B, Q, width) read all (B, N, width) but the absent."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.tell, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, some: Tensor, everything: Tensor, absent: Tensor) -> Tensor:
        normal = self.before(everything)
        parts = (self.ask(normal[:, : some.shape[1]]), *self.tell(normal).chunk(2, dim=-1))
        ask, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = functional.scaled_dot_product_attention(ask, keys, values, attn_mask=~absent[:, None, None])
        some = some + self.out(seen.transpose(1, 2).flatten(2))
        return some + self.think(self.between(some))


class _Scale(nn.Module):
    """Brings numbers to mean 0 and deviation 1, as measured on the demonstrations."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def measure(self, numbers: Tensor) -> None:
        """Take them from (N, size)."""
        self.mean.copy_(numbers.mean(dim=0))
        deviation = numbers.std(dim=0)
        # What never changes there is left alone.
        self.deviation.copy_(torch.where(deviation > 1e-3, deviation, torch.ones_like(deviation)))

    def forward(self, numbers: Tensor) -> Tensor:
        return (numbers - self.mean) / self.deviation

    def back(self, numbers: Tensor) -> Tensor:
        return numbers * self.deviation + self.mean


class _Eyes(nn.Module):
    """Pictures (B, P, P, 3) uint8 to tokens (B, N, width), N = 36 of a 6 × 6 grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (3, 32, 64, 96, width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.places = nn.Linear(2, width)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = functional.adaptive_avg_pool2d(self.layers(pixels.movedim(-1, 1).float() / 127.5 - 1.0), 6)
        rows = torch.linspace(-1.0, 1.0, seen.shape[-1], device=seen.device)
        grid = torch.stack(torch.meshgrid(rows, rows, indexing="ij"), dim=-1).flatten(0, 1)  # (N, 2)
        return seen.flatten(2).movedim(1, 2) + self.places(grid)
