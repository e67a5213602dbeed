"""How Sphinx builds these pages."""

import porttunnel

project = "porttunnel"
author = "The porttunnel authors"
copyright = f"2026, {author}"
release = porttunnel.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "newsfragments"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "alabaster"
html_static_path = ["_static"]
html_theme_options = {
    "description": "Reach what is behind a firewall without opening a port.",
    "page_width": "70rem",
}
