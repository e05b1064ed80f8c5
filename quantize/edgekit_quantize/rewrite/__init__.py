"""The same function in operators that have an int8 form, in ai-edge-quantizer and in XNNPACK alike. ONNX to ONNX."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.optimizer import optimize_ir
from onnxscript.rewriter import RewriteRuleSet, rewrite
from onnxscript.rewriter.rules.common import fuse_hardswish_rules

from edgekit_quantize.rewrite.activations import ACTIVATIONS, LONE_ACTIVATIONS
from edgekit_quantize.rewrite.affine import AFFINE, AFFINE_PAIRS, ARITHMETIC
from edgekit_quantize.rewrite.factors import absorb_factors
from edgekit_quantize.rewrite.fusions import FUSIONS
from edgekit_quantize.rewrite.pooling import POOLING

_ANY_SIZE = 2**31
# Exporters may write a hard-swish in parts: it is made whole before those are looked at.
_STEPS = (
    fuse_hardswish_rules(),
    ARITHMETIC,
    FUSIONS,
    ACTIVATIONS,
    POOLING,
    AFFINE_PAIRS,
    AFFINE,
    LONE_ACTIVATIONS,
)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with constants folded, functions inlined, and convolutions one with what is linear behind them.

    Args:
        model: A checked ONNX network with fixed shapes.
    """
    network = ir.from_proto(model)
    # Whatever its size: weights may be computed too.
    optimize_ir(network, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    return ir.to_proto(_apply(network, FUSIONS))


def rewrite_for_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in operators that quantize well.

    Args:
        model: A simplified ONNX network.

    Returns:
        A network with the same input, output and function, up to the rounding of float32.
    """
    network = ir.from_proto(model)
    for rules in _STEPS:
        network = _apply(network, rules)
    absorb_factors(network.graph)
    passes.RemoveUnusedNodesPass()(network)
    return ir.to_proto(network)


def _apply(network: ir.Model, rules: RewriteRuleSet) -> ir.Model:
    changed = rewrite(network, rules)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(changed)
    passes.RemoveUnusedNodesPass()(changed)
    passes.ShapeInferencePass()(changed)
    return changed
