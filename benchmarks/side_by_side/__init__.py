"""Edgekit beside what a user would pick instead: the same float network, the same images.

    make bench CALIBRATION=photos EVALUATION=labelled

runs `everything`: for each of `subjects`, `conversion` (accuracy, size, seconds, memory of every route to int8) and
`inference` (milliseconds here); then `pi_cores` (instructions on a Raspberry Pi's cores) and `cameras` (camera loops);
`page` writes benchmarks/RESULTS.md from what they measured, and `standings` its summary. `peers/` holds a script for
each peer, which runs in an environment of the peer's own. `photos` picks the photos out of a clone of their repository.
"""
