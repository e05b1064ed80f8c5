"""The last stage: metadata, golden samples and card go into the file."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

from edgekit import __version__, bundle
from edgekit.card import Card, OutputSpec, Provenance
from edgekit_quantize.calibration_images import CalibrationImages
from edgekit_quantize.golden import NO_GOLDEN, make_golden
from edgekit_quantize.metadata import attach
from edgekit_quantize.proof import Proof
from edgekit_quantize.recipe import Recipe
from edgekit_quantize.source import Source
from edgekit_quantize.verify import Check, Comparison

_TOOLS = ("torch", "onnx", "onnx2tf", "tensorflow", "ai-edge-quantizer", "ai-edge-litert", "opencv-python", "numpy")


def seal(
    model: bytes,
    source: Source,
    images: CalibrationImages,
    recipe: Recipe,
    comparisons: tuple[Comparison, ...],
    check: Check,
    *,
    name: str,
    seed: int,
    proof: Proof | None = None,
) -> bytes:
    """The finished model file.

    Args:
        model: The verified flatbuffer.
        source: What it was made from.
        images: What calibration saw.
        recipe: How it was quantized.
        comparisons: The float stages' deviations, for the card.
        check: The finished model's, and its quantization.
        name: Of the model.
        seed: Of the choice of images.
        proof: Of an int8 model, for the card.

    Raises:
        EdgekitError: An int8 model does not run on XNNPACK here.
    """
    spec = replace(source.input, quantization=check.input)
    description = f"{source.architecture.name} image classifier, {len(source.labels)} classes, {recipe.description}."
    described = attach(model, name, description, source.input)
    golden = NO_GOLDEN if check.input is None else make_golden(described, spec, images.originals)
    card = Card(
        name=name,
        architecture=source.architecture,
        input=spec,
        output=OutputSpec(classes=len(source.labels), quantization=check.output),
        labels=source.labels,
        provenance=Provenance(
            tools={"edgekit": __version__} | {tool: metadata.version(tool) for tool in _TOOLS},
            recipe=recipe.name,
            seed=seed,
            reference_sha256=source.sha256,
            calibration_sha256=images.sha256,
            calibration_images=images.count,
        ),
        measurements=(
            *(comparison.measurement() for comparison in comparisons),
            *check.measurements(),
            *(() if proof is None else proof.measurements()),
        ),
        golden=golden.samples,
        builtin_runtime=golden.builtin_runtime,
        builtin_bound=golden.builtin_bound,
    )
    return bundle.seal(described, card, golden.files)
