"""IVG's two stages as recipes: the mask clip of a step (stage 1), and its clip given the mask (stage 2).

Both have the same network, with one channel more for the region of motion. Stage 1 gets a white mask there (anything
may move) and learns the clip whose frames after the first are the pseudo masks of single frames; stage 2 gets the
union over time that stage 1 predicts and learns the clip itself. So stage 2 may start from stage 1's weights, as IVG
§3.1.2 has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ksgen_models.training.hub.adapt import save_network
from ksgen_models.training.hub.cache import Cache, Tensors
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.training.hub.kit import Kit
from ksgen_models.training.hub.losses import hand_video_loss, mask_video_loss, prediction_loss
from ksgen_models.training.hub.manifest import ClipRef, digest_of, load_clip
from ksgen_models.training.hub.measuring import ClipValidator, RegionValidator
from ksgen_models.training.hub.noising import add_noise, clean_of, target_of
from ksgen_models.training.hub.recipe import Batch, Validation
from ksgen_models.training.hub.record import Record
from ksgen_models.training.hub.sampling import predict, sample
from ksgen_models.training.hub.tensors import latent_mask, to_frames, to_video

ROM, VIDEO = "rom", "video"


class ClipRecipe:
    """Stage 1 or stage 2 on a video checkpoint. Satisfies `ksgen_models.training.hub.recipe.Recipe`."""

    def __init__(
        self,
        kind: str,
        kit: Kit,
        config: TrainConfig,
        clips: Sequence[ClipRef],
        held_out: Sequence[ClipRef],
        regions: Mapping[str, NDArray[np.float32]] | None = None,
        hand_loss: nn.Module | None = None,
    ) -> None:
        """Nothing is encoded yet.

        Args:
            kind: `ROM` or `VIDEO`.
            kit: the checkpoint, its network widened and adapted.
            config: the settings.
            clips, held_out: to train and to validate on.
            regions: stage 2's masks (H, W) in [0, 1] by the digest of the clip; None takes the pseudo masks.
            hand_loss: a `ksgen_models.hand_structure.HandStructureLoss`; None goes without.
        """
        self.kind, self.kit, self.config = kind, kit, config
        self.clips, self.held_out = tuple(clips), tuple(held_out)
        self.fps = clips[0].fps
        self._regions, self._hand_loss = regions, hand_loss
        size = (kit.height, kit.width, kit.frames)
        self._validator = RegionValidator(*size) if kind == ROM else ClipValidator(*size, config.metrics)
        self._cache = Cache(config.cache_folder)
        self._vae = kit.identity("vae")
        self._readers = kit.identity("text_encoder", "image_encoder")

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.kit.network

    def __len__(self) -> int:
        return len(self.clips)

    def fixed(self) -> Mapping[str, Any]:
        """Hashes of clips and encoders, and the size."""
        size = [self.kit.frames, self.kit.height, self.kit.width]
        data = digest_of((*self.clips, *self.held_out))
        return {"kind": self.kind, "clips": data, "vae": self._vae, "readers": self._readers, "size": size}

    def prepare(self, device: torch.device, rank: int, world: int) -> None:
        """Encode this process's share of clips and sentences."""
        from tqdm import tqdm

        self.kit.to(device)
        if self._hand_loss is not None:
            self._hand_loss.requires_grad_(False).to(device)
        every = (*self.clips, *self.held_out)
        for reference in tqdm(every[rank::world], desc="encode", unit="clip", disable=None if rank == 0 else True):
            self._example(reference)
        for sentence in sorted({"", *(reference.sentence for reference in every)})[rank::world]:
            self._text(sentence)
        self._cache.close()
        self.kit.forget_encoders()

    def batch(self, indices: Sequence[int], random: np.random.Generator) -> Batch:
        """Clips with what they are conditioned on, some without their sentence."""
        return self.collate([self.clips[index] for index in indices], random.random(len(indices)) < self.config.no_text)

    def collate(self, references: Sequence[ClipRef], silent: Sequence[bool] | NDArray[np.bool_]) -> Batch:
        """A batch of clips; those that are ``silent`` lose the sentence, or the picture in a network without text."""
        samples = []
        for reference, without in zip(references, silent, strict=True):
            sample = dict(self._example(reference))
            text = self._text("" if without else reference.sentence)
            if without and not text:
                sample |= {name: torch.zeros_like(sample[name]) for name in ("context", "image")}
            samples.append(sample | text | self._mask(reference, sample))
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def losses(self, module: Any, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """IVG Eq. 3 or Eq. 6."""
        clean = batch["latents"]
        levels = self.kit.noising.draw(len(clean), generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        predicts, skip = self.kit.noising.predicts, int(self.kit.holds_first)
        noisy = add_noise(clean, noise, levels)
        said = predict(self.kit, module, noisy, levels.timestep, batch, self.fps)
        matched = prediction_loss(said, target_of(predicts, clean, noise, levels), skip)
        weight = self.config.beta if self.kind == ROM else self.config.alpha
        if not weight or (self.kind == VIDEO and self._hand_loss is None):
            return {"loss": matched}
        # The first frame is known: what is decoded after it should not rest on an estimate of it.
        estimate = torch.cat([clean[:, :, :1], clean_of(predicts, noisy, said, levels)[:, :, 1:]], dim=2)
        last = max(clean.shape[2] - self.config.decoded, 1)
        start = int(torch.randint(1, last + 1, (1,), generator=generator)) if clean.shape[2] > 1 else 0
        window = (levels, start, self.config.decoded)
        if self.kind == ROM:
            overlap = mask_video_loss(self.kit, estimate, batch["regions"].float(), *window)
            return {"loss": matched + weight * overlap, "noise": matched, "miou_loss": overlap}
        hands = hand_video_loss(self.kit, self._hand_loss, estimate, batch["keypoints"], *window)
        return {"loss": matched + weight * hands, "noise": matched, "hand_structure": hands}

    @torch.no_grad()
    def validate(self, module: Any, samples: int) -> Validation:
        """The noise loss at fixed levels, and the metrics of drawn clips."""
        device = next(module.parameters()).device
        found = []
        for number, reference in enumerate(self.held_out):
            batch = self._on(device, [reference])
            draws = self.config.validation_draws
            repeated = {name: tensor.expand(draws, *tensor.shape[1:]) for name, tensor in batch.items()}
            generator = torch.Generator().manual_seed(number)
            levels = self.kit.noising.draw(draws, generator)
            noise = torch.randn(repeated["latents"].shape, generator=generator).to(device)
            noisy = add_noise(repeated["latents"], noise, levels)
            said = predict(self.kit, module, noisy, levels.timestep, repeated, self.fps)
            target = target_of(self.kit.noising.predicts, repeated["latents"], noise, levels)
            found.append(float(prediction_loss(said, target, int(self.kit.holds_first))))
        drawn = [self._draw(module, device, reference) for reference in self.held_out[:samples]]
        measured = self._validator.measure(self.held_out[:samples], drawn)
        return Validation({"noise": float(np.mean(found)), **measured.figures}, measured.pictures)

    def save(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """See `ksgen_models.training.hub.adapt.save_network`."""
        kit, rank = self.kit, self.config.rank
        save_network(folder, kit.network, kit.component, kit.backbone.input_layer, rank, state)
        size = (kit.height, kit.width, kit.frames, self.fps)
        Record.of(self.kind, self.config, kit.backbone.pipeline, kit.component, rank, size).write(folder)

    def _draw(self, module: Any, device: torch.device, reference: ClipRef) -> NDArray[np.uint8]:
        generator = torch.Generator().manual_seed(self.config.seed)
        batch = self._on(device, [reference])
        latents = sample(self.kit, module, batch, self.fps, self.config.sample_steps, generator)
        return to_frames(self.kit.decode(latents)[0])

    def _on(self, device: torch.device, references: Sequence[ClipRef]) -> Batch:
        batch = self.collate(references, [False] * len(references))
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def _example(self, reference: ClipRef) -> Tensors:
        """``latents``, ``context`` and, where the network sees it, ``image``, without the batch axis; and the truth."""
        kit = self.kit
        key = {"clip": reference.digest, "vae": self._vae, "size": [kit.frames, kit.height, kit.width]}
        key |= {"kind": self.kind, "readers": self._readers, "component": kit.component}
        return self._cache.get(key, lambda: self._encode(reference))

    def _encode(self, reference: ClipRef) -> Tensors:
        clip = load_clip(reference, self.kit.height, self.kit.width, self.kit.frames)
        video = to_video(clip.frames)
        made: Tensors = {}
        if self.kind == ROM:
            made["regions"] = torch.from_numpy(clip.regions.astype(np.uint8))  # (T, H, W)
            white = 2 * made["regions"][1:].float() - 1
            target = torch.cat([video[:, :1], white.expand(3, -1, -1, -1)], dim=1)
        else:
            made["keypoints"] = torch.from_numpy(clip.keypoints)
            made["region"] = torch.from_numpy(clip.region.astype(np.uint8))  # (H, W)
            target = video
        picture = video[None, :, 0]
        made["latents"] = self.kit.encode(target[None])[0]
        made["context"] = self.kit.context(picture, seed=int(reference.digest[:8], 16))[0]
        image = self.kit.image(picture)
        return made if image is None else made | {"image": image}

    def _text(self, sentence: str) -> Tensors:
        def make() -> Tensors:
            states = self.kit.text(sentence)
            return {} if states is None else {"text": states}

        return self._cache.get({"sentence": sentence, "readers": self._readers}, make)

    def _mask(self, reference: ClipRef, sample: Tensors) -> Tensors:
        """(1, T', h, w): white in stage 1, the region of motion in stage 2."""
        shape = sample["latents"].shape[1:]
        if self.kind == ROM:
            return {"mask": torch.ones(1, *shape)}
        region = sample["region"]
        if self._regions is not None:
            region = torch.from_numpy(self._regions[reference.digest])
        return {"mask": latent_mask(region, *shape)}
