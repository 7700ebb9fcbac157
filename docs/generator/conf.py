"""Sphinx's settings for the site; the sources are gathered by docs/build.py."""

from steelyard.conformance.version import __version__

project = "Steelyard"
author = "The Steelyard authors"
copyright = author  # noqa: A001 - as Sphinx calls it; the licence is in the repository
version = release = __version__
language = "en"
extensions = ["myst_parser", "mathml"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # a page of a deviation begins with what a reader of its folder sees
smartquotes = False
nitpicky = True
python_maximum_signature_line_length = 88
html_theme = "furo"
html_title = "Steelyard"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would be fetched, which a page opened from a file may not do
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#245a8d", "color-brand-content": "#245a8d"},
    "dark_css_variables": {"color-brand-primary": "#8fbfee", "color-brand-content": "#8fbfee"},
}
exclude_patterns = ["_repository"]


def setup(app):  # noqa: ANN001, ANN201, D103 - as Sphinx calls it
    app.connect("html-page-context", _collapsed, priority=400)


def _collapsed(app, pagename, templatename, context, doctree):  # noqa: ANN001, ANN202, ARG001 - as Sphinx calls it
    """Only the open branch of the contents in the sidebar: all techniques on every page would triple its size."""
    contents = context.get("toctree")
    if contents is not None:
        context["toctree"] = lambda **options: contents(**{**options, "collapse": True})
