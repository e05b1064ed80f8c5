"""The host side: export, convert, quantize, verify, report."""
