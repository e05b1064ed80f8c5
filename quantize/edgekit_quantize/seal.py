"""The last stage: metadata, golden samples and card go into the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

from edgekit import __version__, bundle
from edgekit.card import Card, Measurement, OutputSpec, Provenance
from edgekit.preprocess import Image
from edgekit_quantize.calibration_images import CalibrationImages
from edgekit_quantize.candidate import Candidate
from edgekit_quantize.golden import NO_GOLDEN, make_golden
from edgekit_quantize.metadata import attach
from edgekit_quantize.source import Source

_TOOLS = ("torch", "onnx", "onnx2tf", "tensorflow", "ai-edge-quantizer", "ai-edge-litert", "opencv-python", "numpy")


def seal(
    source: Source,
    images: CalibrationImages,
    candidate: Candidate,
    measurements: tuple[Measurement, ...],
    shown: Sequence[Image],
    *,
    name: str,
    seed: int,
) -> bytes:
    """The finished model file.

    Args:
        source: What it was made from.
        images: What calibration saw.
        candidate: What the recipe made.
        measurements: For the card.
        shown: Images for golden samples.
        name: Of the model.
        seed: Of the choice of images.

    Raises:
        EdgekitError: An int8 model does not run on XNNPACK here.
    """
    recipe, check = candidate.recipe, candidate.check
    spec = replace(source.input, quantization=check.input)
    description = f"{source.architecture.name} image classifier, {len(source.labels)} classes, {recipe.description}."
    described = attach(candidate.flatbuffer, name, description, source.input)
    golden = NO_GOLDEN if check.input is None else make_golden(described, spec, shown)
    card = Card(
        name=name,
        architecture=source.architecture,
        input=spec,
        output=OutputSpec(classes=len(source.labels), quantization=check.output),
        labels=source.labels,
        provenance=Provenance(
            tools={"edgekit": __version__} | {tool: metadata.version(tool) for tool in _TOOLS},
            recipe=recipe.name,
            recipe_sha256=recipe.sha256,
            is_tuned=candidate.is_tuned,
            seed=seed,
            reference_sha256=source.sha256,
            calibration_sha256=images.sha256,
            calibration_images=images.count,
        ),
        measurements=measurements,
        golden=golden.samples,
        builtin_runtime=golden.builtin_runtime,
        builtin_bound=golden.builtin_bound,
    )
    return bundle.seal(described, card, golden.files)
