"""What of a network is trained: a widened input projection, low-rank adapters or everything; and how that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ksgen_models.errors import AssetError, InvalidInput, WeightsMissing
from ksgen_models.training.hub.record import RECORD as RECORD

LORA_FILE = "pytorch_lora_weights.safetensors"
INPUT_FILE = "input_projection.safetensors"
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The attention projections, as diffusers names them in every network of the table."""


def widen(network: Any, layer: str, channels: int = 1) -> None:
    """Give a network's input projection ``channels`` more channels, the last ones, whose weights are zero.

    What the network says is unchanged until these are trained. The network's ``in_channels`` follow, so that
    ``save_pretrained`` and ``from_pretrained`` know.

    Raises:
        InvalidInput: the layer is no convolution or linear layer.
    """
    old = network.get_submodule(layer)
    before = int(network.config.in_channels)
    if isinstance(old, nn.Conv2d | nn.Conv3d):
        kind: Any = type(old)
        shape = (old.out_channels, old.kernel_size, old.stride, old.padding)
        new = kind(before + channels, *shape, bias=old.bias is not None)
    elif isinstance(old, nn.Linear):  # patches with the channel as the slowest axis
        new = nn.Linear(old.in_features // before * (before + channels), old.out_features, old.bias is not None)
    else:
        raise InvalidInput(f"{layer} is a {type(old).__name__}; a convolution or a linear layer can be widened")
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.weight.shape[1]] = old.weight
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, name = layer.rpartition(".")
    setattr(network.get_submodule(parent), name, new.to(old.weight.device, old.weight.dtype))
    # A network whose outputs are "as many as the inputs" must not get another one with them.
    network.register_to_config(in_channels=before + channels, out_channels=network.config.out_channels or before)


def add_adapters(network: nn.Module, rank: int, seed: int) -> None:
    """Put low-rank adapters beside the attention projections (Hu et al., arXiv 2106.09685), by peft.

    Args:
        network: of diffusers.
        rank: of the adapters; their scale is 1.
        seed: of the one factor's initial weights, the other is zero.
    """
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS), init_lora_weights="gaussian")
        inject_adapter_in_model(config, network)


def choose_trained(network: nn.Module, layer: str, rank: int, dtype: torch.dtype) -> None:
    """Say what is trained: everything, or the adapters and the input projection, the rest frozen at ``dtype``.

    Trained weights are float32, and so stay those that diffusers keeps so.
    """
    spared = tuple(getattr(network, "_keep_in_fp32_modules", None) or ())
    for name, weight in network.named_parameters():
        trained = not rank or ".lora_" in name or name.startswith(f"{layer}.")
        weight.requires_grad_(trained)
        if trained:
            weight.data = weight.data.float()
        elif not any(part in name.split(".") for part in spared):
            weight.data = weight.data.to(dtype)


def trained_names(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that are trained."""
    return tuple(name for name, weight in module.named_parameters() if weight.requires_grad)


def save_network(
    folder: Path, network: Any, component: str, layer: str, rank: int, state: Mapping[str, Tensor]
) -> None:
    """Write a trained network.

    With every weight trained, ``folder/<component>`` is what ``save_pretrained`` writes. With adapters, they go to
    `LORA_FILE`, under the names that diffusers' pipelines load, and the widened projection to `INPUT_FILE`.

    Args:
        folder: to write to.
        network: says the class and configuration.
        component: of the pipeline.
        layer: the widened projection.
        rank: of the adapters; 0 for none.
        state: all (or all trained) weights by name.
    """
    if not rank:
        save_whole(network, state, folder / component)
        return
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_adapters(folder / LORA_FILE, component, state)
    projection = {name: _plain(weight) for name, weight in state.items() if name.startswith(f"{layer}.")}
    save_file(projection, folder / INPUT_FILE, metadata={"format": "pt"})


def save_adapters(path: Path, component: str, state: Mapping[str, Tensor]) -> None:
    """Write the low-rank weights of ``state`` under the names that ``load_lora_weights`` of diffusers knows."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    adapters = {
        f"{component}.{name.replace('.default', '')}": _plain(weight)
        for name, weight in state.items()
        if ".lora_" in name
    }
    save_file(adapters, path, metadata={"format": "pt"})


def save_whole(network: Any, state: Mapping[str, Tensor], folder: Path) -> None:
    """``save_pretrained`` of weights that are not (or not all) in the network itself, as those of sharded training."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        shell = type(network).from_config(network.config)
    shell.load_state_dict({name: _plain(weight) for name, weight in state.items()}, strict=False, assign=True)
    shell.save_pretrained(folder)


def load_network(folder: str | Path, network: Any, component: str, layer: str) -> Any:
    """The trained network that `save_network` wrote, on top of the one it was trained from.

    Args:
        folder: of the trained model.
        network: the checkpoint's own; widened and changed in place where adapters were trained.
        component: of the pipeline.
        layer: the widened projection.

    Returns:
        The network, adapters merged into its weights.

    Raises:
        WeightsMissing: the folder lacks a file.
        AssetError: the weights do not fit the network.
    """
    folder = Path(folder)
    if (folder / component).is_dir():
        try:
            return type(network).from_pretrained(folder / component, torch_dtype=network.dtype, local_files_only=True)
        except Exception as exc:
            raise AssetError(f"{folder / component} does not load as {type(network).__name__} ({exc!s:.300})") from exc
    load_adapters(folder, network, component, layer)
    return merged(network)


def load_adapters(folder: str | Path, network: Any, component: str, layer: str) -> int:
    """Widen a network and give it the adapters and the projection that `save_network` wrote; returns their rank.

    Raises:
        WeightsMissing: the folder lacks a file.
        AssetError: the weights do not fit the network.
    """
    from safetensors.torch import load_file

    for name in (LORA_FILE, INPUT_FILE):
        if not (Path(folder) / name).is_file():
            raise WeightsMissing(f"{folder} has no {component}/ and no {name}; it is no result of ksgen-agent train")
    try:
        widen(network, layer)
        rank = put_adapters(Path(folder) / LORA_FILE, network, component)
        network.load_state_dict(load_file(Path(folder) / INPUT_FILE), strict=False)
        return rank
    except Exception as exc:
        raise AssetError(f"{folder} does not fit the checkpoint it is loaded onto ({exc!s:.300})") from exc


def put_adapters(path: Path, network: Any, component: str) -> int:
    """Give a network the adapters that `save_adapters` wrote; returns their rank.

    Raises:
        ValueError: they are of another network.
    """
    from safetensors.torch import load_file

    adapters = load_file(path)
    rank = next(weight.shape[0] for name, weight in adapters.items() if name.endswith("lora_A.weight"))
    add_adapters(network, rank, 0)
    named = {
        name.removeprefix(f"{component}.").replace(".weight", ".default.weight"): weight
        for name, weight in adapters.items()
    }
    unfit = network.load_state_dict(named, strict=False).unexpected_keys
    if unfit:
        raise ValueError(f"the network has no {unfit[0]}")
    return rank


def merged_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with their low-rank parts added, under the names of the network without adapters."""
    plain = {name.replace(".base_layer.", "."): weight for name, weight in state.items() if ".lora_" not in name}
    for name, down in state.items():
        if ".lora_A." in name:
            target = name[: name.index(".lora_A.")] + ".weight"
            up = state[name.replace(".lora_A.", ".lora_B.")]
            plain[target] = plain[target].float() + up.float() @ down.float()
    return plain


def merged(network: Any) -> Any:
    """Adapters added to the weights that they stand beside, and taken out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, module.get_base_layer())
    return network


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().cpu().contiguous()
