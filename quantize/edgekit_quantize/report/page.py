"""What HTML pages have in common: one file that asks nobody for anything, and escapes what others wrote."""

from __future__ import annotations

from importlib import resources

import jinja2
from markupsafe import Markup

from edgekit_quantize.report import wording


def render_page(package: str, template: str, **values: object) -> str:
    """Fill a template that lies in `package`; `style` is the sheet that all pages share.

    Args:
        package: Such as "edgekit_quantize.report".
        template: File name.
        values: What the template speaks of; a name that it lacks is an error.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=wording.number,
        signed=wording.signed,
        interval=wording.interval,
        p_value=wording.p_value,
        size=wording.size,
        operations=wording.operations,
    )
    # The style sheet is ours: to escape its quotes would break it.
    style = Markup(_text("edgekit_quantize.report", "style.css"))  # noqa: S704
    return environment.from_string(_text(package, template)).render(style=style, **values)


def tied(text: str) -> str:
    """No line break inside "95 %", "20 dB", an interval or "n = 750"."""
    for loose in (" %", " dB", " … ", " = ", " < "):
        text = text.replace(loose, loose.replace(" ", "\u00a0"))
    return text


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
