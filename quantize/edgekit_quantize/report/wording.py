"""Numbers in words, the same on every page and on the terminal."""

from __future__ import annotations

from edgekit_quantize.report.statistics import Estimate


def number(value: float, digits: int = 2) -> str:
    """Fixed digits, thousands set apart, a real minus sign, no minus on a rounded zero."""
    text = f"{value:,.{digits}f}"
    if text.startswith("-") and not text.strip("-0.,"):
        text = text[1:]
    return text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """As `number`, with a plus where there is something to add."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def interval(estimate: Estimate, digits: int = 2) -> str:
    """Such as "−0.05 … 0.29"."""
    return f"{number(estimate.low, digits)} … {number(estimate.high, digits)}"


def p_value(p: float) -> str:
    """Such as "p = 0.31" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def size(count: float) -> str:
    """Bytes as kB or MB (powers of ten)."""
    return f"{number(count / 1e6, 2)} MB" if count >= 1e6 else f"{number(count / 1e3, 1)} kB"


def operations(count: int) -> str:
    """Multiply-accumulates in millions."""
    return f"{number(count / 1e6, 1 if count >= 1e6 else 3)} M"


def listed(names: list[str], most: int = 5) -> str:
    """The first few of many names."""
    tail = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + tail


def too_few(images: int) -> str:
    """Such as "750 images are too few to decide"."""
    return f"{plural(images, 'image')} {'is' if images == 1 else 'are'} too few to decide"


def plural(count: int, one: str, many: str = "") -> str:
    """Such as "1 image", "1,200 images"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
