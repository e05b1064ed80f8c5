"""What it would take where edgekit is behind: ours to say, and no number in it, since numbers are measured anew."""

from __future__ import annotations

from benchmarks.side_by_side.standings import Kind, Place, Standing

WOULD_TAKE: dict[Kind, str] = {
    Kind.AGREEMENT: (
        "tuning makes the squared error of all logits small; biases corrected layer by layer (NNCF's accurate one) may "
        "keep more of the answers, though their logits are further from the float network's. Not tried yet: such a "
        "correction before tuning, and a measure that counts images near a decision for more."
    ),
    Kind.SQNR: (
        "biases corrected layer by layer (NNCF's accurate one) end nearer to the float logits there. Not tried yet: "
        "such a correction before tuning."
    ),
    Kind.SIZE: (
        "the rest of an edgekit file is its card, the names of the classes and four golden samples; a file that takes "
        "and gives floats has no need of an input's and output's scales either. It would take leaving these out."
    ),
    Kind.SECONDS: (
        "`int8` tunes for most of its time. Edgekit compares every stage with PyTorch and tries the file on three sets "
        "of kernels before it hands it out; the others hand out what they made."
    ),
    Kind.IMAGE: (
        "OpenVINO has kernels of its own for this processor. A .tflite runs on LiteRT's (XNNPACK), whoever wrote it; "
        "it would take another runtime. Edgekit is made for the Pi: see the instructions there."
    ),
    Kind.NETWORK: (
        "without dot-product instructions (A53, A72), XNNPACK's int8 kernels take no fewer instructions than the best "
        "of the others, int8 or float. It would take other kernels. What it is in milliseconds is not known: a float "
        "network's weights are four times the bytes."
    ),
    Kind.FRAME: "what the network alone is behind by, see there; edgekit's own part of a frame is the smallest.",
}


def remedies(lines: list[Standing]) -> tuple[list[str], list[Kind]]:
    """What it would take for each thing that edgekit is behind in, and the things that nothing is said of yet."""
    behind: dict[Kind, list[str]] = {}
    for line in lines:
        if line.place is Place.BEHIND:
            behind.setdefault(line.kind, []).append(line.on)
    if not behind:
        return [], []
    said = [
        f"- *{kind}*{_where(names)}: {WOULD_TAKE.get(kind, 'nothing is known of this yet.')}"
        for kind, names in behind.items()
    ]
    silent = [kind for kind in behind if kind not in WOULD_TAKE]
    return ["Where it is behind, and what it would take:\n", *said, ""], silent


def _where(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if any(names) else ""
