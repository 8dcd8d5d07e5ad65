"""What the pages have in common: their templates, and how a value stands on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cluster.printable import printable

TEMPLATES = Path(__file__).parents[2] / "templates" / "report"


def render(template: str, **values: Any) -> str:
    """A page of templates/report/ as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    """A value as it stands on the page: what hosts have said commands no terminal on which somebody reads the file either."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
