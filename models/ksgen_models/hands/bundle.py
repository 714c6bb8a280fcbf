"""Makes the ``.task`` bundle that MediaPipe's `HandLandmarker` loads out of its two plain TFLite networks.

The bundle is an uncompressed zip of both networks, each with TFLite metadata that tells how to normalise the image
(mean 0, standard deviation 255, so that RGB lies in [0, 1]). The metadata is written with the flatbuffer schemas that
the mediapipe package ships in ``mediapipe/tasks/metadata``. The same networks give the same bytes.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

from ksgen_models.errors import AssetError

_METADATA_NAME = "TFLITE_METADATA"
_METADATA_IDENTIFIER = b"M001"
_MODEL_IDENTIFIER = b"TFL3"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def build_hand_bundle(palm_detector: str | Path, hand_landmarks: str | Path, bundle: str | Path) -> None:
    """Write the bundle; the file appears whole or not at all.

    Args:
        palm_detector: MediaPipe's ``palm_detection_full.tflite`` (192×192 input).
        hand_landmarks: MediaPipe's ``hand_landmark_full.tflite`` (224×224 input).
        bundle: the ``.task`` file to write.

    Raises:
        AssetError: a network is not a readable TFLite file.
    """
    entries = {
        "hand_detector.tflite": _with_image_metadata(Path(palm_detector), "palm detector"),
        "hand_landmarks_detector.tflite": _with_image_metadata(Path(hand_landmarks), "hand landmarks"),
    }
    bundle = Path(bundle)
    partial = bundle.with_name(f".{bundle.name}.{os.getpid()}.part")
    partial.write_bytes(_zip_stored(entries))
    partial.replace(bundle)


def _with_image_metadata(network: Path, name: str) -> bytes:
    """Return the network's bytes with metadata that states its image normalisation."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as schema

    data = network.read_bytes()
    if data[4:8] != _MODEL_IDENTIFIER:
        raise AssetError(f"{network} is not a TFLite network; fetch it again")
    # The generated classes declare every field optional; a network has graphs and buffers.
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    outputs = len(model.subgraphs[0].outputs)

    buffer = schema.BufferT()
    buffer.data = list(_image_metadata(name, outputs))  # type: ignore[assignment]
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = _METADATA_NAME  # type: ignore[assignment]
    entry.buffer = len(model.buffers) - 1
    kept = [old for old in model.metadata or [] if old.name not in (_METADATA_NAME, _METADATA_NAME.encode())]
    model.metadata = [*kept, entry]

    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), _MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _image_metadata(name: str, outputs: int) -> bytes:
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    options = schema.NormalizationOptionsT()
    options.mean, options.std = [0.0], [255.0]  # type: ignore[assignment]
    normalise = schema.ProcessUnitT()
    normalise.optionsType = schema.ProcessUnitOptions.NormalizationOptions
    normalise.options = options  # type: ignore[assignment]

    image = schema.ImagePropertiesT()
    image.colorSpace = schema.ColorSpaceType.RGB
    content = schema.ContentT()
    content.contentPropertiesType = schema.ContentProperties.ImageProperties
    content.contentProperties = image  # type: ignore[assignment]

    pixel_range = schema.StatsT()
    pixel_range.min, pixel_range.max = [0.0], [1.0]  # type: ignore[assignment]

    tensor = schema.TensorMetadataT()
    tensor.name = "image"  # type: ignore[assignment]
    tensor.content = content  # type: ignore[assignment]
    tensor.processUnits = [normalise]  # type: ignore[assignment]
    tensor.stats = pixel_range  # type: ignore[assignment]

    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]  # type: ignore[assignment]
    graph.outputTensorMetadata = [schema.TensorMetadataT() for _ in range(outputs)]  # type: ignore[assignment]

    metadata = schema.ModelMetadataT()
    metadata.name = name  # type: ignore[assignment]
    metadata.subgraphMetadata = [graph]  # type: ignore[assignment]

    builder = flatbuffers.Builder(1024)
    builder.Finish(metadata.Pack(builder), _METADATA_IDENTIFIER)
    return bytes(builder.Output())


def _zip_stored(entries: dict[str, bytes]) -> bytes:
    """Zip without compression, with a fixed time: MediaPipe reads the networks in place and refuses compressed ones."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system = 3  # the writing machine's own system would show in the bytes
            archive.writestr(info, data)
    return buffer.getvalue()
