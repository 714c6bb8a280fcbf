"""Finds the feature networks on this machine and says of those that are not here how to get them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksgen_models.assets import asset_path
from ksgen_models.errors import InvalidInput, WeightsMissing
from ksgen_models.metrics.catalogue import METRICS, NETWORKS, Network, needed_networks


@dataclass(frozen=True)
class Found:
    """A network that is here.

    Attributes:
        network: its entry in the catalogue.
        source: file, folder or hub id it is loaded from.
    """

    network: Network
    source: str

    @property
    def identity(self) -> str:
        """Changes when another network takes its place: name, source, and size and time of the files."""
        path = Path(self.source)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        marks = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
        return hashlib.sha256(repr((self.network.name, self.source, marks)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Choice:
    """What can be measured here.

    Attributes:
        metrics: names of the metrics, stand-ins included.
        networks: the networks that they need.
        missing: metrics that were asked for and cannot be measured → what is missing and how to get it.
    """

    metrics: tuple[str, ...]
    networks: Mapping[str, Found]
    missing: Mapping[str, str]


def choose(
    asked: tuple[str, ...], own: Mapping[str, str] | None = None, judged: Collection[str] = frozenset()
) -> Choice:
    """Find what the asked metrics need; a metric that cannot be measured is replaced by its stand-in.

    Args:
        asked: names in `METRICS`.
        own: network name → the user's own file, folder or hub id.
        judged: metrics for which the caller brings a judge.

    Raises:
        InvalidInput: ``own`` names a network that there is not.
        WeightsMissing: ``own`` names a path that does not exist.
    """
    own = dict(own or {})
    for name in own:
        if name not in NETWORKS:
            raise InvalidInput(f'no network is called "{name}"; they are {", ".join(NETWORKS)}')
    wanted = dict.fromkeys([*asked, *(METRICS[name].stand_in for name in asked if METRICS[name].stand_in)])
    found: dict[str, Found] = {}
    lacking: dict[str, str] = {}
    for name in needed_networks(wanted):
        try:
            found[name] = find_network(name, own.get(name))
        except WeightsMissing as exc:
            if name in own:
                raise
            lacking[name] = str(exc)

    def lacks(metric: str) -> list[str]:
        needs = [lacking[network] for network in METRICS[metric].networks if network in lacking]
        judge = METRICS[metric].judge
        return [*needs, *([f"it needs {judge}"] if judge and metric not in judged else [])]

    missing = {name: "; ".join(lacks(name)) for name in asked if lacks(name)}
    stand_ins = {METRICS[name].stand_in for name in missing}
    chosen = tuple(name for name in METRICS if not lacks(name) and (name in asked or name in stand_ins))
    return Choice(chosen, {name: found[name] for name in needed_networks(chosen)}, missing)


def find_network(name: str, own: str | None = None) -> Found:
    """Where a network is; loads nothing and uses no network connection.

    Raises:
        WeightsMissing: it is not here; says how to get it.
    """
    network = NETWORKS[name]
    if network.kind == "asset":
        return Found(network, str(asset_path(network.source, own)))
    chosen = own or os.environ.get(network.variable)
    if chosen and Path(chosen).expanduser().exists():
        return Found(network, str(Path(chosen).expanduser()))
    if network.kind == "hub" and (not chosen or chosen.count("/") == 1):
        hub_id = chosen or network.source
        folder = _hub_folder(hub_id)
        if folder:
            return Found(network, folder)
        raise WeightsMissing(
            f"{name}: {hub_id} is not in the hub's cache; run: hf download {hub_id}, or name a folder that holds it "
            f"with --network {name}=DIR or {network.variable}"
        )
    if chosen:
        raise WeightsMissing(f"{name}: {chosen} does not exist; correct the path or leave it out")
    raise WeightsMissing(
        f"{name}: no weights; {network.how}, and name the file with --network {name}=FILE or {network.variable}"
    )


def _hub_folder(hub_id: str) -> str | None:
    """The cached snapshot that holds both configuration and weights, without asking the network."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        config = try_to_load_from_cache(hub_id, "config.json")
        weights = [try_to_load_from_cache(hub_id, name) for name in ("model.safetensors", "pytorch_model.bin")]
    except HFValidationError:
        return None
    here = isinstance(config, str) and any(isinstance(path, str) for path in weights)
    return str(Path(str(config)).parent) if here else None


def load_network(found: Found) -> Any:
    """Load a network; what it can do depends on its name.

    Raises:
        AssetError: it cannot be read.
    """
    name, path = found.network.name, Path(found.source)
    if found.network.kind == "script":
        from ksgen_models.metrics.networks.scripted import ScriptedNetwork

        return ScriptedNetwork(path)
    if name == "egovlp":
        from ksgen_models.metrics.networks.egovlp import load_egovlp

        return load_egovlp(path)
    if name == "efficientnet_lite0":
        from ksgen_models.metrics.networks.efficientnet import load_efficientnet

        return load_efficientnet(path)
    if name == "st_lpips":
        from ksgen_models.metrics.networks.stlpips import load_stlpips

        return load_stlpips(path)
    if name == "minilm":
        from ksgen_models.text import MiniLM

        return MiniLM(path)
    if name == "hands":
        from ksgen_models.hands.tracker import HandTracker

        return HandTracker(path)
    from ksgen_models.metrics.networks import hub

    loaders = {"clip": hub.load_clip, "dino": hub.load_dino, "blip": hub.load_blip, "action": hub.load_action}
    return loaders[name](found.source)
