"""Edgekit's own loop, as `edgekit camera` runs it: it opens a lost camera anew by itself."""

from __future__ import annotations

import sys

from common import TOP, read_task, tell, tell_bare

from edgekit_deploy.camera import Decision, run_camera
from edgekit_deploy.classifier import Classifier
from edgekit_deploy.sources import open_source


def main() -> None:
    """Until a signal comes."""
    task = read_task()
    classifier = Classifier.open(task.model, threads=1, top_k=TOP)
    tell_bare(classifier.network.invoke)

    def decided(decision: Decision) -> None:
        tell(decision.frame.image)

    run_camera(
        classifier,
        open_source(task.url),
        reopen=lambda: open_source(task.url),
        observer=decided,
        notify=lambda line: print(line, file=sys.stderr),
    )


main()
