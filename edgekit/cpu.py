"""What the processor is called, for records and reports."""

from __future__ import annotations

import re
from pathlib import Path

# The processors of all Raspberry Pis, by "CPU part" of /proc/cpuinfo; ARM kernels give no other name.
ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
}


def read_cpu(root: Path = Path("/")) -> str | None:
    """Name of the processor by /proc/cpuinfo; None where that says nothing."""
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    name = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    part = re.search(r"^CPU part\s*:\s*(\S+)", text, re.MULTILINE)
    # A 32-bit ARM kernel's model name says only "ARMv7 Processor rev 3 (v7l)".
    if part:
        return ARM_PARTS.get(part[1].lower(), f"ARM part {part[1]}")
    return name[1].strip() if name else None
