"""One HTML page without a network: style, script, charts and thumbnails are inside it."""

import base64
import hashlib
from typing import Any

from compactor_runtimes.errors import needs_extra


def render_template(name: str, **view: Any) -> str:
    """Fill a template of `report/templates`; its page allows our script alone and no request to anywhere.

    Raises:
        MissingDependency: the `report` extra is not installed.
    """
    with needs_extra("report"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compactor_runtimes.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("report.js").render().strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(name).render(script=script, script_digest=digest, **view)
