"""The Skill Transformer and its injection as a recipe: key-step images from the frame and the whole plan.

Of each plan one step is drawn at a time; the Skill Transformer reads all of them. The loss is that of the image
generator on the step's picture, plus, with a small weight, where each step changes the picture (docs/mini.md tells what
that taught the embedded model). Without adapters (LoRA) or ``whole_unet`` the generator's UNet stays as it is, as
IP-Adapter's does (Ye et al., arXiv 2308.06721).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.hub.kig.families import GeneratorFamily, prompt_of, with_changes
from ksgen_models.hub.kig.generator import SkillImageGenerator
from ksgen_models.hub.kig.pictures import generator_of, resized
from ksgen_models.hub.kig.telling import frame_latents, step_states
from ksgen_models.hub.loading import quiet
from ksgen_models.training.hub.cache import Cache, Tensors, weights_digest
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.training.hub.curves import grid
from ksgen_models.training.hub.kig_module import KigModule, save_kig
from ksgen_models.training.hub.measuring import measure_pairs
from ksgen_models.training.hub.noising import Noising, add_noise, target_of
from ksgen_models.training.hub.plans import PlanRef, key_step_images
from ksgen_models.training.hub.recipe import Batch, Validation
from ksgen_models.training.hub.record import Record

KIG = "kig"
KIG_METRICS = ("clip_to_real", "dino_to_real")
_CHANGED = 0.04  # mean difference of a patch, of the range of the pixels, from which it counts as changed


class KigRecipe:
    """Training of key-step images. Satisfies `ksgen_models.training.hub.recipe.Recipe`."""

    kind = KIG

    def __init__(
        self,
        folder: Path,
        pipeline: Any,
        family: GeneratorFamily,
        module: KigModule,
        noising: Noising,
        config: TrainConfig,
        plans: Sequence[PlanRef],
        held_out: Sequence[PlanRef],
        size: tuple[int, int],
    ) -> None:
        """Nothing is encoded yet.

        Args:
            folder: of the checkpoint.
            pipeline: loaded from it, of the class ``family.runs_as``.
            family: how it is asked.
            module: what is trained, installed in the pipeline.
            noising: the schedule.
            config: the settings.
            plans, held_out: to train and to validate on.
            size: height and width of the pictures.
        """
        self.pipeline, self.family, self.config, self.noising = pipeline, family, config, noising
        self.plans, self.held_out, self.size = tuple(plans), tuple(held_out), size
        self._module, self._folder = module, folder
        self._cache = Cache(config.cache_folder)
        self._vae = weights_digest(folder / "vae")
        self._readers = "-".join(weights_digest(folder / name)[:32] for name in ("text_encoder", "text_encoder_2"))

    @property
    def module(self) -> nn.Module:
        """UNet, Skill Transformer and injection."""
        return self._module

    def __len__(self) -> int:
        return len(self.plans)

    def fixed(self) -> Mapping[str, Any]:
        """Hashes of plans and encoders, and the size."""
        data = [plan.digest for plan in (*self.plans, *self.held_out)]
        return {"kind": KIG, "plans": data, "vae": self._vae, "readers": self._readers, "size": list(self.size)}

    def prepare(self, device: torch.device, rank: int, world: int) -> None:
        """Encode this process's share of pictures and sentences. The text encoders stay where samples are drawn."""
        self.pipeline.to(device)
        with quiet():  # diffusers speaks of each time that the VAE is used in float32
            self._encode(rank, world)
        self._cache.close()
        if not self.config.samples:
            for name in ("text_encoder", "text_encoder_2"):
                if getattr(self.pipeline, name, None) is not None:
                    setattr(self.pipeline, name, None)

    def batch(self, indices: Sequence[int], random: np.random.Generator) -> Batch:
        """Plans, of each one step to be drawn; some untold."""
        plans = [self.plans[index] for index in indices]
        chosen = [int(random.integers(len(plan.steps))) for plan in plans]
        return self.collate(plans, chosen, random.random(len(plans)) < self.config.no_text)

    def collate(self, plans: Sequence[PlanRef], chosen: Sequence[int], untold: Any) -> Batch:
        """A batch; plans are padded to ``plan_steps``, so that every batch has one shape."""
        samples = []
        for plan, step, silent in zip(plans, chosen, untold, strict=True):
            pictures, texts = self._pictures(plan), [self._text(sentence) for sentence in plan.steps]
            missing = self.config.plan_steps - len(texts)
            told = self._text("") if silent else texts[step]
            samples.append(
                {
                    "frame": pictures["latents"][0],
                    "latents": pictures["latents"][step + 1],
                    "changed": _padded(pictures["changed"], missing),
                    "plan": _padded(torch.stack([text["states"] for text in texts]), missing),
                    "plan_mask": _padded(torch.stack([text["mask"] for text in texts]), missing),
                    "steps": torch.arange(self.config.plan_steps) < len(texts),
                    "chosen": torch.tensor(step),
                    "told": torch.tensor(not silent),
                    "states": told["states"],
                    "pooled": told["pooled"],
                }
            )
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def losses(self, module: Any, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The generator's loss on the chosen steps, and the loss of where things change."""
        levels = self.noising.draw(len(batch["latents"]), generator)
        matched, logits = self._matched(module, batch, levels, generator)
        if not self.config.change:
            return {"loss": matched + 0 * logits.sum()}
        there = batch["steps"][:, :, None, None].expand_as(logits)
        target = F.adaptive_avg_pool2d(batch["changed"], (logits.shape[-2], logits.shape[-1]))
        change = F.binary_cross_entropy_with_logits(logits[there], (target > _CHANGED).float()[there])
        return {"loss": matched + self.config.change * change, "noise": matched, "change": change}

    @torch.no_grad()
    def validate(self, module: Any, samples: int) -> Validation:
        """The noise loss at fixed levels, and the metrics of drawn pictures."""
        device = self._module.unet.device
        found = []
        for number, plan in enumerate(self.held_out):
            generator = torch.Generator().manual_seed(number)
            for draw in range(self.config.validation_draws):
                batch = self.collate([plan], [draw % len(plan.steps)], [False])
                placed = {name: tensor.to(device) for name, tensor in batch.items()}
                found.append(float(self._matched(module, placed, self.noising.draw(1, generator), generator)[0]))
        some = self.held_out[:samples]
        rows = [(key_step_images(plan, *self.size), self._draw(plan, device)) for plan in some]
        if not rows:
            return Validation({"noise": float(np.mean(found))})
        texts = [", then ".join(plan.steps) for plan in some]
        figures = measure_pairs(rows, texts, 1.0, self.config.metrics or KIG_METRICS)
        longest = max(len(real) for real, _ in rows)
        pictures = grid([_white(row, longest) for pair in rows for row in pair], longest)
        return Validation({"noise": float(np.mean(found)), **figures}, {"key_steps": pictures})

    def save(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """See `ksgen_models.training.hub.kig_module.save_kig`."""
        save_kig(folder, self._folder, self._module, self.config.rank, self.config.whole_unet, state)
        size = (*self.size, 1, 1.0)
        Record.of(KIG, self.config, self.family.pipeline, "unet", self.config.rank, size).write(folder)

    def _encode(self, rank: int, world: int) -> None:
        from tqdm import tqdm

        for plan in tqdm(
            (*self.plans, *self.held_out)[rank::world], desc="encode", unit="plan", disable=None if rank == 0 else True
        ):
            self._pictures(plan)
            for step in plan.steps:
                self._text(step)
        self._text("")

    def _matched(self, module: Any, batch: Batch, levels: Any, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        clean = batch["latents"]
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = add_noise(clean, noise, levels)
        height, width = self.size
        ids = clean.new_tensor([[height, width, 0, 0, height, width]]).expand(len(clean), -1)
        said, logits = module(noisy, levels.timestep.to(clean.device), ids, batch)
        target = target_of(self.noising.predicts, clean, noise, levels)
        return (said.float() - target).square().mean(), logits.float()

    def _draw(self, plan: PlanRef, device: torch.device) -> NDArray[np.uint8]:
        """(S + 1, H, W, 3), by the very code that draws for an agent."""
        steps = max(2, self.config.sample_steps)
        family = with_changes(self.family, {"solver_steps": steps, "area": self.size[0] * self.size[1]})
        drawer = SkillImageGenerator(self.pipeline, family, self._module.adapter())
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.precision)
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            return drawer.draw(key_step_images(plan, *self.size)[0], plan.steps, seed=self.config.seed)

    def _pictures(self, plan: PlanRef) -> Tensors:
        """``latents`` (S + 1, C, h, w), and ``changed`` (S, H/8, W/8), mean difference before and after in [0, 1]."""

        def make() -> Tensors:
            images = key_step_images(plan, *self.size)
            generator = generator_of(int(plan.digest[:8], 16))
            latents = [frame_latents(self.pipeline, resized(image, *self.size), generator)[0] for image in images]
            pixels = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
            changed = F.avg_pool2d((pixels[1:] - pixels[:-1]).abs().mean(1, keepdim=True), 8)[:, 0]
            return {"latents": torch.stack(latents).float(), "changed": changed}

        return self._cache.get({"plan": plan.digest, "vae": self._vae, "size": list(self.size)}, make)

    def _text(self, sentence: str) -> Tensors:
        """``states`` (L, D), ``mask`` (L,) and ``pooled`` (P,) of what the family is told of a step."""
        prompt = prompt_of(self.family, sentence) if sentence else ""

        def make() -> Tensors:
            states, mask = step_states(self.pipeline, [prompt])
            device = self.pipeline._execution_device
            pooled = self.pipeline.encode_prompt(prompt=prompt, device=device, do_classifier_free_guidance=False)[2]
            return {"states": states[0].float(), "mask": mask[0], "pooled": pooled[0].float()}

        return self._cache.get({"prompt": prompt, "readers": self._readers}, make)


def _padded(tensor: Tensor, missing: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])


def _white(row: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    return np.concatenate([row, np.full((length - len(row), *row.shape[1:]), 255, np.uint8)])
