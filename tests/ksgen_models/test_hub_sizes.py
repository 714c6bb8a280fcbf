"""The parameter counts of the tables, against the networks themselves at full size."""

from __future__ import annotations

import pytest
from full_size import FULL_SIZE, count

from ksgen_models.hub.families import FAMILIES
from ksgen_models.hub.images import IMAGE_MODELS

PUBLISHED = {**FAMILIES, **IMAGE_MODELS}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_counts_the_parameters_that_the_networks_have(name: str) -> None:
    counted = {component: count(build) for component, build in FULL_SIZE[name].items()}
    assert PUBLISHED[name].billions == pytest.approx(counted, rel=0.01)


def test_downloads_are_counted_as_the_repositories_store_them() -> None:
    """Against the sizes that the hub shows for these repositories' files, see docs/presets.md."""
    for name, component, gb in (
        ("wan2.2-i2v", "transformer", 57.2), ("wan2.2-i2v", "text_encoder", 11.4), ("cogvideox-i2v", "vae", 0.862),
        ("cogvideox-i2v", "text_encoder", 9.52), ("ltx", "transformer", 7.69), ("svd", "unet", 3.05),
        ("pia", "unet", 3.44), ("pia", "motion_adapter", 1.67), ("pia", "vae", 0.335), ("pia", "text_encoder", 0.492),
        ("hunyuan-i2v", "transformer", 25.6), ("hunyuan-i2v", "text_encoder_2", 0.246),
        ("cosmos-predict2", "transformer", 3.91), ("wan-vace", "text_encoder", 11.4), ("wan-vace", "vae", 0.508),
        ("sdxl", "unet", 5.14), ("sdxl", "text_encoder_2", 1.39), ("kolors", "unet", 5.16),
        ("kolors", "text_encoder", 12.49),
    ):  # fmt: skip
        assert PUBLISHED[name].download_gb()[component] == pytest.approx(gb, rel=0.01), (name, component)
    assert sum(PUBLISHED["qwen-image-edit"].download_gb().values()) == pytest.approx(57.7, rel=0.01)
