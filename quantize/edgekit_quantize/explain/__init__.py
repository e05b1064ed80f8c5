"""The layer view of a conversion: where int8 loses, and why."""
