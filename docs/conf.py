"""How the documentation is built; `make docs` treats every warning as an error."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / part) for part in ("docs/extensions", "runtimes", "exporters", "")]

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from compactor.version import VERSION  # noqa: E402  # the checkout's own, whatever is installed
from compactor_runtimes.predict.answers import classes, vector  # noqa: E402

for module in (classes, vector):  # imports numpy for type checkers alone; autodoc reads the annotations
    module.np, module.NDArray = np, NDArray  # type: ignore[attr-defined]

project = "Compactor"
version = release = VERSION
copyright = "the authors of Compactor, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "generated"]
exclude_patterns = ["_build"]

nitpicky = True
nitpick_ignore_regex = [
    # of other packages, whose documentation would have to be fetched
    (r"py:.*", r"(numpy|NDArray|np|PIL|PILImage|msgspec|pathlib|Path|torch|Struct)(\..*)?"),
    (r"py:.*", r"(collections\.abc|typing|types)\..*"),
    # of ours: contracts that the reference does not list
    (r"py:.*", r"(Answers?|Raw)"),
    (r"py:.*", r"(compactor_runtimes\.(backends|bundle\.manifest|predict\.answering|golden)\b.*)"),
]

smartquotes_action = "qe"  # two hyphens are an option's, not a dash
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Compactor {VERSION}"
html_static_path = ["_static"]
html_css_files = ["compactor.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
