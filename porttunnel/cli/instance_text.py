"""What people read of `porttunnel instance`, in one place. Fields are str.format's."""

from __future__ import annotations

__all__ = ()  # used as a module: instance_text.INVITE_HELP

INSTANCE_SHORT = "Invite and revoke devices, beside an agent."
INSTANCE_HELP = """Invite devices to the web system beside an agent, and see and revoke them.

Run this where the agent runs (twistd porttunnel-agent), as its user or as root, with the agent's
data folder:

\b
  porttunnel instance invite --user anna   show a QR code for a device of anna's
  porttunnel instance devices              which devices there are
  porttunnel instance confirm 3fa91c02     type the digits that a device shows
  porttunnel instance revoke 3fa91c02      put a device out for good
  porttunnel instance restored             after a backup was put back

Each command has its own page: porttunnel instance invite --help
"""

INVITE_HELP = """Make a code with which one device of a user's can be paired.

Shows it as a QR code and as a text, waits until a device has used it, and asks for the six digits
that the device shows: that makes sure that nobody stands in between. Whoever has the device may do
at the web system what this user may.

With --immediate nothing is asked: whoever sees the code in time, and is or works with the gateway,
gets the device. That suits a screen that nobody else can see.

Ctrl-C leaves; the code stays good until it expires, and porttunnel instance confirm asks for the
digits later. The pictures of --png and --svg can be read by you alone; remove them afterwards.

\b
Examples:
  porttunnel instance invite --user anna
  porttunnel instance invite --user anna --png code.png
  porttunnel instance invite --user anna --data-dir /var/lib/porttunnel-agent

Exit codes: 0 paired or left, 1 failed, 2 wrong use, 4 no agent runs, or the gateway is away.
"""

CONFIRM_HELP = """Type the six digits that a device shows.

DEVICE is the id of an invitation, or its first digits, as porttunnel instance devices shows it.
Three wrong entries end it.

\b
Examples:
  porttunnel instance confirm 3fa91c02

\b
Exit codes: 0 paired or left, 1 failed, 2 wrong use, 4 no agent runs.
"""

DEVICES_HELP = """Show the devices and the invitations that are open.

The first digits of an id are what other commands take as DEVICE.

\b
Examples:
  porttunnel instance devices
  porttunnel instance devices --json

\b
Exit codes: 0 shown, 2 wrong use, 4 no agent runs.
"""

REVOKE_HELP = """Put a device out for good, or take an invitation back.

Its keys are erased here at once, and the gateway cuts its connections. To come back it has to be
invited again. DEVICE is its id, or the first digits.

\b
Examples:
  porttunnel instance revoke 3fa91c02

\b
Exit codes: 0 done, 1 failed, 2 wrong use, 4 no agent runs.
"""

RESTORED_HELP = """Say that the agent's state is older than what happened.

After the whole machine was put back to an earlier state, from a backup or a snapshot, the agent
can't tell: it would believe requests that it has carried out already. With this each device
changes its secret before it is served again, by itself. Where only the data folder was restored
the agent notices.

\b
Examples:
  porttunnel instance restored

\b
Exit codes: 0 done, 1 failed, 2 wrong use, 4 no agent runs.
"""

# Options

DATA_DIR_OPTION = "The agent's data folder. Else $PORTTUNNEL_DATA, else your user folder."
USER_OPTION = "Whose device it will be: the name that the web system knows."
IMMEDIATE_OPTION = "Ask for no digits: whoever sees the code in time gets the device."
EXPIRES_OPTION = "How long the code is good."
PNG_OPTION = "Write the QR code to this file too, as PNG, which only you can read."
SVG_OPTION = "The same as SVG."

# Wrong use

BAD_USER = (
    "{user!r} can't be a user's name: it has 1 to 255 bytes, no blanks around it, and only what "
    "can be printed. Give the name that the web system knows."
)
NO_DEVICES = "There are no devices yet. Use: porttunnel instance invite --user NAME"
NO_SUCH_DEVICE = "No device fits {wanted!r}. There are: {devices}."
SEVERAL_DEVICES = "Several devices fit {wanted!r}: {devices}. Give more digits of the id."
PICTURE_NOT_WRITTEN = "{path} can't be written ({reason}). Name a file in a folder of yours."
BAD_COMMAND = "This line is no command: {reason}"

# invite, confirm

INVITED = "A code for a device of {user}, good until {expires}:"
CODE_TEXT = "Or the same as a text: {code}"
PICTURE = "The QR code is in {path}. Remove it afterwards."
HOW_TO_PAIR = "On the device: porttunnel device pair, with a picture of the QR code, or this text."
TOO_NARROW = "The QR code needs a terminal of {columns} columns, or --png FILE."
IMMEDIATE = (
    "Nothing will be asked, as --immediate says: whoever sees this code in time, and is or works "
    "with the gateway, gets the device and may do what {user} may. Let nobody else see it."
)
WAITING = "Waiting for the device ... Ctrl-C leaves; the code stays good."
ASK_DIGITS = "Type the six digits that the device shows: "
WRONG_DIGITS = "These are not the digits. Tries left: {tries_left}."
PAIRED = "Paired: device {device} of {user}."
LEFT_OPEN = (
    "The code stays good until it expires. Later: porttunnel instance confirm {device}, or "
    "porttunnel instance revoke {device} to take it back."
)
TIME = "%H:%M"
DATE_AND_TIME = "%Y-%m-%d %H:%M"

# devices

HEADINGS = ("ID", "USER", "STATE", "SINCE", "LAST SEEN", "ONLINE")
STATES = {
    "invited": "invited",
    "exchanged": "invited",
    "waiting": "shows digits",
    "paired": "paired",
    "left": "gone",
}
ONLINE = {True: "yes", False: "no"}
NOW = "now"
NEVER = "never"
NOT_CONNECTED = "The agent has no connection to the gateway just now; its log says why."
NOT_REGISTERED = "The agent is not registered at the gateway yet; its log says why."

# revoke

RESTORED = "Each device changes its secret now before it is served again."
REVOKED = "Device {device} of {user} is revoked."
