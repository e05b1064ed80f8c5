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
        "fewer steps of tuning, which is most of the time of `int8` (`int8-minmax` has none: see its lines); or "
        "leaving out what the others do not do: comparing every stage with PyTorch, and trying the file on three sets "
        "of kernels before it is handed out."
    ),
    Kind.IMAGE: (
        "OpenVINO has kernels of its own for this processor. A .tflite runs on LiteRT's (XNNPACK), whoever wrote it; "
        "it would take another runtime. Edgekit is made for the Pi: see the instructions there."
    ),
    Kind.NETWORK: (
        "on cores without dot-product instructions (A53, A72), XNNPACK's int8 kernels take more instructions than "
        "those of the runtime that is named above. It would take other kernels in XNNPACK, or that runtime. What it is "
        "in milliseconds is not known; where the other network is a float one, its weights are four times the bytes."
    ),
    Kind.FRAME: (
        "as for the network alone, of which edgekit's smaller part of a frame (preparation and classes) makes up some."
    ),
    Kind.MEMORY: (
        "edgekit has PyTorch's exporter and TensorFlow load at the same time, each in a process of its own. One after "
        "the other would take less memory, and more seconds."
    ),
    Kind.BESIDE: (
        "OpenCV's sample reads, decodes and prepares a frame in C++, in one thread and in order. About half of what "
        "edgekit takes (by hand) is reading and decoding, in a thread of its own that keeps only the newest frame; the "
        "rest is preparation, finding the classes, and what its network takes more than in a row, since caches have "
        "gone cold between frames. It would take a decoder that gives the small crop at once, with the same pixels."
    ),
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
