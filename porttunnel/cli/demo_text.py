"""What `porttunnel demo` and its wiki say, in one place (see :mod:`porttunnel.cli.text`)."""

from __future__ import annotations

__all__ = ()  # used as a module: demo_text.WIKI_PAGE

WIKI_FRAME = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A small wiki</title>
<style>
  body {{ font: 1.1em/1.5 sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }}
  textarea {{ width: 100%; height: 12em; font: inherit }}
  .who {{ color: #666 }}
</style>
<p class="who">{who}</p>
{body}
</html>
"""
WIKI_USER = "The wiki sees you as <b>{user}</b>."
WIKI_NOBODY = "The wiki doesn't know you: you may read."
WIKI_PAGE = """<h1>{name}</h1>
<form method="post" action="/{name}">
<textarea name="content" aria-label="the page">{content}</textarea>
<p><button>Save</button></p>
</form>
<p>Pages: {others}</p>"""
WIKI_START = """It works.

This wiki listens on an address that only its own machine can reach. You read it with a paired
device, through a gateway that can't read it. Change something and save it.
"""
WIKI_PRIVATE = "Only {user} may read this.\n"
WIKI_NO_PAGE = "<h1>There can't be such a page</h1><p>Names have letters, digits and hyphens.</p>"
WIKI_PRIVATE_TO_OTHER = "<h1>This page is somebody else's</h1>"
WIKI_NOT_YOURS = "<h1>You may not change this page</h1>"
WIKI_FULL = "<h1>That is too much for a small wiki</h1><p>Take away some of it.</p>"
