"""What `porttunnel demo` and its wiki say, in one place (see :mod:`porttunnel.cli.text`)."""

from __future__ import annotations

__all__ = ()  # used as a module: demo_text.WIKI_PAGE

DEMO_HELP = """Show everything at work on this machine.

Starts a server, a small wiki that nobody can reach, an agent beside it and a device that is paired
with it; then somebody who shares a folder and somebody who joins. All of it is on free ports that
only this machine can reach, and you are told where to look. Ctrl-C ends it and removes what it
made.

\b
Examples:
  porttunnel demo
  porttunnel demo --check    see that everything comes through unchanged, end
"""
SECONDS_OPTION = "End by itself after so many seconds."
DATA_DIR_OPTION = "Not used: what the demo starts has folders of its own."
CHECK_OPTION = "End once everything has come through unchanged: exit code 0 if it has."

SERVER = "1. A server, the one part that others reach: tunnel and gateway on one port."
WIKI = "2. A small wiki behind a firewall. Nobody reaches it, but the agent beside it:"
WIKI_ADDRESS = "   {url}"
AGENT = "3. The agent connects outwards to the gateway:"
PAIR = "4. {user} pairs a device. The wiki's side invites, and shows a code to scan:"
PAIR_DEVICE = "   The device takes the code; the gateway never sees the secret half of it:"
DIGITS = "   The device shows {digits}; {user} types that at the wiki's side: paired."
SERVE = "5. The device makes the wiki browsable:"
WIKI_CHECKED = (
    "   {user} reads and changes pages through it, those of {user} alone too; at the wiki itself "
    "nobody may."
)
PAGE = "6. A session: somebody shares a folder with a web page in it,\n   {folder}"
SHARE = "   and gets a code to read out:"
CODE = "   code {code}"
JOIN = "7. Somebody else joins with the code:"
CONSENT = "   {name} has the right code; the person who shares says yes"
COMMAND = "   $ {command}"
LOOK = """8. Look at it yourself:
   the wiki       {wiki}
   the web page   {page}
   the server     {status}"""
RUNNING = "Ctrl-C ends it."
RUNNING_SECONDS = "It ends by itself after {seconds} seconds."
NOT_FETCHED = "{url} could not be fetched: {reason}."
CHECKED = "   The page came through the tunnel unchanged ({size} bytes, SHA-256 {digest})."
DIFFERENT = "What came through the tunnel is not the page."
WIKI_DIFFERENT = "The wiki did not do what it should through the gateway: {what}."
PROGRAM_ENDED = "{program} ended by itself (exit code {exit_code})."
TOO_SLOW = "{program} did not say {wanted!r} within {seconds} seconds."
ENDED = "Everything has been stopped and removed."
PAGE_HTML = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>porttunnel demo</title>
<h1>It works</h1>
<p>This page came through a session tunnel: from a web server that listens on no port at all,
sealed, over a tunnel server that could not read it, to a port of this machine.</p>
</html>
"""

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
