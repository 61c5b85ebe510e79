"""The documentation as a site: `make docs`."""

import re
from pathlib import Path

import numpy.typing
from sphinx.application import Sphinx


class ArrayLike:
    """Stands for numpy's alias, of which the site would show the nine types that it is made of."""


numpy.typing.ArrayLike = ArrayLike  # before anything of evoprune reads it

import evoprune  # noqa: E402

DOCS = Path(__file__).resolve().parent

project = "evoprune"
author = "the developers of evoprune"
copyright = author
release = evoprune.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxarg.ext"]
exclude_patterns = ["site"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"evoprune {release}"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"  # the fields of a data class are its attributes, told once
napoleon_use_ivar = True
smartquotes = False  # they would make one dash of the two of an option


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", name_what_lies_outside)


def name_what_lies_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Pages and folders of the project that are no part of the site are named in place of linked."""
    folder = Path(app.env.doc2path(page)).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link["target"]).resolve()
        if target.is_relative_to(DOCS) or not (target.is_dir() or target.suffix == ".md"):
            return link[0]
        return f"{link['text']} (`{target.relative_to(DOCS.parent)}`)"

    source[0] = re.sub(r"(?<!!)\[(?P<text>[^]]+)\]\((?P<target>[^)#:]+)\)", named, source[0])
