"""What people read of `porttunnel device`, in one place. Fields are str.format's."""

from __future__ import annotations

__all__ = ()  # used as a module: device_text.PAIR_HELP

DEVICE_SHORT = "Use a web system behind a firewall, as its device."
DEVICE_HELP = """Use a web system behind a firewall from this machine, its device.

Somebody beside that system invites you and shows a QR code. Pair once, then browse:

\b
  porttunnel device pair photo.png   pair, with a picture of the QR code
  porttunnel device serve            have the web system at a port here
  porttunnel device get /            fetch one page
  porttunnel device list             what this machine is paired with
  porttunnel device revoke           end a pairing

Nothing is sent in the clear: the gateway in between passes on what it can't read. Each command has
its own page: porttunnel device pair --help
"""

PAIR_HELP = """Pair this machine with a web system, as its device.

IMAGE is a picture with the QR code that you were shown: a photo, a screenshot. Without it you are
asked for the text of the QR code, which begins with https:// and has /pair# in it; for programs: -
takes it from the first line of standard input. That text is secret and works once, so it can't be
an argument, which others on this machine could see.

Six digits appear. Type them where you were invited, or read them out to the person there: that
makes sure that nobody stands in between. Ctrl-C before that, and the same code can be used again
to go on, until it expires.

\b
Examples:
  porttunnel device pair screenshot.png --name wiki
  porttunnel device pair
  porttunnel device pair - < code.txt

\b
Exit codes: 0 paired, 1 failed, 2 wrong use, 4 the gateway can't be reached.
"""

LIST_HELP = """Show what this machine is paired with.

The name, the first digits of the id, or the gateway's host are what other commands take as
--device.

\b
Examples:
  porttunnel device list
  porttunnel device list --json
"""

GET_HELP = """Fetch a page of the web system, to standard output.

PATH begins with a slash and may have a query. Redirects are told and not followed.

\b
Examples:
  porttunnel device get /
  porttunnel device get '/lib/exe/fetch.php?media=plan.pdf' --output plan.pdf

Exit codes: 0 fetched, 1 failed or another status than 2xx, 2 wrong use, 3 revoked, 4 gateway or
web system not reachable.
"""

REQUEST_SHORT = "Send any request to the web system."
REQUEST_HELP = """Send any request to the web system; what it answers goes to standard output.

With --data @FILE the content is sent from the file as it is read, however large it is, and with
--data @- from standard input. A request that may change something is never repeated; if it is not
known whether it was carried out you are told so.

\b
Examples:
  porttunnel device request HEAD / --include
  porttunnel device request PUT /notes/today --data @today.txt
  porttunnel device request POST /api --data '{"a": 1}' \\
      --field 'content-type: application/json'

Exit codes: 0 answered, 1 failed or a status of 400 and above, 2 wrong use, 3 revoked, 4 gateway or
web system not reachable.
"""

SERVE_HELP = """Have web systems at ports of this machine, for your browser.

Each system that this machine is paired with gets a port of its own, the same each time unless it
is taken. Everything goes through: pages, uploads, downloads, WebSockets. You need not log in; you
are who the code was made for. Whoever can use this machine's ports is that too while this command
runs: don't run it on a machine that you share with people you don't trust. Pages of other sites
can't get at it. Ctrl-C ends it.

\b
Examples:
  porttunnel device serve
  porttunnel device serve --device wiki --port 8000

\b
Exit codes: 0 ended on purpose, 1 failed, 2 wrong use, 3 revoked.
"""

REVOKE_SHORT = "End a pairing."
REVOKE_HELP = """End a pairing: the gateway forgets this device, and this machine its keys.

From then on there is no way from this machine to the web system; to come back, be invited again.
With --offline only this machine forgets, for when the gateway is gone for good: somebody beside
the web system should revoke the device too.

\b
Examples:
  porttunnel device revoke
  porttunnel device revoke --device 3fa9 --yes

\b
Exit codes: 0 done, 1 failed, 2 wrong use, 4 the gateway can't be reached.
"""

# Options

DEVICE_OPTION = (
    "Which pairing: its name, the first digits of its id, or its gateway's host, as porttunnel "
    "device list shows them. Not needed if there is only one."
)
SERVE_DEVICE_OPTION = "Only this one: its name, the first digits of its id, or its gateway's host."
NAME_OPTION = "What you call the web system, such as wiki: other commands take it as --device."
PORT_OPTION = "This machine's port; with several pairings choose one with --device. 0 takes any."
OUTPUT_OPTION = "Write to this file instead, which appears once all of it is there."
INCLUDE_OPTION = "Show status and fields of the answer first, on standard error."
DATA_OPTION = "The content: a text, @FILE, or @- for standard input."
FIELD_OPTION = "A field of the request's head, such as 'accept: text/plain'; repeat for more."
YES_OPTION = "Don't ask."
OFFLINE_OPTION = "Forget it on this machine only; the gateway is not asked."

# Wrong use

CODE_ARGUMENT = (
    "The text of a QR code is secret and must not be an argument, since others on this machine "
    "could see it. Leave it out and type it when you are asked."
)
CODE_MISSING = "No code: with --json give IMAGE, or - and the text on standard input."
INPUT_ENDED = "Standard input ended before the text of the QR code came."
QR_MISSING = (
    "Pictures can't be read: zxing-cpp and Pillow are not installed. Install them (pip install "
    "zxing-cpp pillow), or leave IMAGE out and type the text of the QR code."
)
NO_PICTURE = (
    "{path} can't be read as a picture ({reason}). Take a photo or screenshot as PNG or JPEG."
)
NO_QR = (
    "There is no pairing code in {path}. Take the picture again, from in front, with the whole QR "
    "code in it and a margin around."
)
SEVERAL_QR = "There are several pairing codes in {path}. Cut the picture down to one."
NO_DEVICES = "This machine is paired with nothing yet. Use: porttunnel device pair"
NO_SUCH_DEVICE = "No pairing fits {wanted!r}. There are: {devices}."
SEVERAL_DEVICES = "There are several pairings: {devices}. Choose one with --device."
PORT_FOR_ONE = "--port is for one: choose it with --device. There are: {devices}."
BAD_REQUEST = (
    "There is no such request ({reason}). A path begins with / and has no #, a method is a word "
    "such as GET."
)
NO_CONNECT = "CONNECT is for proxies"
BAD_FIELD = "{field!r} is no field, such as 'accept: text/plain'."
NO_DATA_FILE = "{path} can't be read ({reason})."
NO_FILE = "it is no file"
NO_FILE_TO_READ = "it is no file; for what a program writes use @-, standard input"
NO_OUTPUT_FILE = "{path} can't be written ({reason})."
JSON_NEEDS_OUTPUT = "With --json the content needs a file: add --output FILE."
JSON_NEEDS_YES = "With --json nobody is asked: add --yes."
LENGTH_FIELD = "How long the content is follows from --data. Leave that field out."
PORT_NOT_FREE = "Port {port} of this machine can't be used ({reason}). Choose another."

# pair

ASK_CODE = "Text of the QR code: "
PAIRING = "Pairing by {gateway} ..."
DIGITS = "Type these digits where you were invited, or read them out there:"
DIGITS_WAITING = "Waiting until they have been typed there. Ctrl-C stops; the same code goes on."
PAIRED = "Paired. This machine is device {device} at {gateway}."
BAD_NAME = "A name has 1 to 64 characters that can be printed."
PAIRED_NEXT = "Browse: porttunnel device serve"

# list

HEADINGS = ("ID", "NAME", "GATEWAY", "PAIRED")
TIME = "%Y-%m-%d %H:%M"

# serve

LISTENING = "listening {url}  ({title}, device {device})"
LINK_LOST = "{title}: {reason} Trying again ..."
NO_LINK = "no connection."
LINK_BACK = "{title}: connected again."
SERVE_ENDED = "Ended."

# get, request

CONNECTING = "Connecting to {gateway} ..."
WAITING = "Waiting for {title} ..."
PROGRESS = "{bytes}"
PROGRESS_OF = "{bytes} of {total}"
STATUS = "The web system answers {status} {phrase}."
STATUS_TO = "The web system answers {status} {phrase}: it is at {location}."
FETCHED = "{status} {phrase}"
WRITTEN = "{path}: {bytes}"

# revoke

ASK_REVOKE = "Revoke device {device} at {gateway}? [y/N] "
NOT_REVOKED = "Nothing was changed: that takes a y, or --yes."
REVOKED = "Device {device} is revoked, and its keys are erased here."
FORGOTTEN = "The keys of device {device} are erased here."
