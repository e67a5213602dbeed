"""What people read, in one place, so that it could be translated. Fields are str.format's."""

from __future__ import annotations

__all__ = ()  # used as a module: text.SESSION_OPEN

MAIN_HELP = """Reach what is behind a firewall without opening a port.

One person shares, reads a short code to another, and that person joins. A tunnel server in
between passes on what it can't read.

\b
  porttunnel demo          see it work on this machine
  porttunnel share 8000    share the web page on port 8000
  porttunnel join          have it here, with the code
  porttunnel device        use a web system through a gateway, as its device
  porttunnel instance      invite devices to the web system beside an agent

Each command has its own page: porttunnel share --help
"""

SHARE_HELP = """Share what this machine can reach. Prints a code; who gets it may ask to come in.

A TARGET says what is shared, with NAME= before it if you like:

\b
  8000                      port 8000 of this machine
  tcp:192.168.1.5:5432      a port of another machine
  unix:PATH                 a socket in the file system
  dir:FOLDER                a folder, as web pages, without hidden names (.x)
                            and links that lead out of it
  socks:RULE[,RULE]         what RULE names, by a SOCKS proxy: HOST, HOST:PORT,
                            10.0.0.0/8, *.example.com:443

\b
Examples:
  porttunnel share 8000
  porttunnel share web=8000 db=tcp:10.0.0.7:5432
  porttunnel share 8000 --server ptuns://tunnel.example.com
  porttunnel share docs=dir:. --yes --once

You are asked about each person before they come in. While no question is open you can type
members, kick N, lock, unlock or help. Ctrl-C ends the session; its number is never used again.

With --broadcast-stdin everybody who has joined gets what comes on standard input, from then on:

\b
  tail -f log | porttunnel share --broadcast-stdin --yes

\b
Exit codes: 0 ended on purpose, 1 failed, 2 wrong use, 4 no tunnel server.
"""

JOIN_HELP = """Join a session with the code that somebody gave you.

Asks for the code. For programs: --code - takes it from the first line of standard input, or set
PORTTUNNEL_CODE. A code is secret, so it can't be an argument, which others on this machine could
see; NUMBER is for sessions that were shared with --sas, where digits are read out instead, and for
coming back to one that you joined with --remember.

\b
Examples:
  porttunnel join
  porttunnel join --forward 8080=web --server ptuns://tunnel.example.com
  porttunnel join --socks 1080
  porttunnel join --broadcast-stdout > log
  porttunnel join 48213

Without --forward and --socks everything that is shared gets a free port of this machine, and you
are told which. With --remember, NUMBER alone brings you back later, without a code. Ctrl-C leaves.

Exit codes: 0 left or ended on purpose, 1 failed, 2 wrong use, 3 refused, 4 no tunnel server.
"""

# Options

SERVER_OPTION = (
    "The tunnel server: ptuns://HOST[:PORT] (TLS), ptun://HOST[:PORT] (plain), or a Twisted "
    "endpoint string. Else $PORTTUNNEL_SERVER, else config.toml, else tcp:127.0.0.1:4663."
)
DATA_DIR_OPTION = (
    "Where settings (config.toml) and what this machine is paired with are kept. Else "
    "$PORTTUNNEL_DATA, else your user folder."
)
NAME_OPTION = "How you are called on the other side; user@machine if not given."
JSON_OPTION = "For programs: what happens is one JSON object a line, on standard output."
JSON_DIALOGUE_OPTION = "For programs: one JSON object a line, both ways."
YES_OPTION = "Let everybody in who has the code, without asking."
ONCE_OPTION = "Let one in; end when they leave."
SAS_OPTION = "No PIN: digits are read out both ways after joining. Say the number, no secret."
FORWARD_OPTION = "This machine's port for a service; repeat for more. 0 takes any free port."
SOCKS_OPTION = "This machine's port for the SOCKS proxy that is shared."
CODE_OPTION = "Take the code from standard input, its first line. Only - is possible."
NO_DIRECT_OPTION = "Never connect directly to the other machine, even on one network."
REMEMBER_SHARE_OPTION = (
    "Let people come back without a code, and without a question, after their program ended."
)
REMEMBER_JOIN_OPTION = (
    "Keep what is needed to come back without a code, in the data folder; later: join NUMBER."
)
BROADCAST_STDIN_OPTION = (
    "Broadcast standard input to all members until it ends. Needs --yes, as nobody can be asked."
)
BROADCAST_STDOUT_OPTION = (
    "Write what is broadcast to standard output, and all else to standard error; ends with it."
)

# Wrong use

SECRET_ARGUMENT = (
    "A code is secret and must not be an argument, since others on this machine could see it. "
    "Leave it out and type it when you are asked. Only a session number (5 to 8 digits) can stand "
    "here, of a session that was shared with --sas or joined with --remember."
)
CODE_NOT_MINUS = "Only - is possible here: the code then comes from standard input."
TWO_CODES = "Give NUMBER, --code - or PORTTUNNEL_CODE, not two of them."
CODE_MISSING = "No code: with --json give it with --code - or as PORTTUNNEL_CODE."
CODE_INPUT_ENDED = "Standard input ended before a code came."
BAD_FORWARD = "{forward!r} is not [HOST:]PORT=NAME, such as 8080=web."
BAD_CONFIG = '{path} is not usable ({reason}). Correct it: it takes server = "ADDRESS".'
UNREADABLE = (
    "{path} can't be read ({reason}). Let this user read it, or choose another --data-dir."
)
BAD_COMMAND = "This line is no command: {reason}"
NOTHING_TO_DECIDE = "Member {member} waits for no such answer."
NO_SUCH_MEMBER = "Member {member} is not in the session."
UNKNOWN_SERVICE = "{service!r} is not shared here. Shared: {shared}."
NO_SOCKS = "No SOCKS proxy is shared here. Shared: {shared}."
NOTHING_SHARED = "nothing"
PORT_NOT_FREE = "Port {port} of {host} can't be used ({reason}). Choose another."
BROADCAST_NEEDS_YES = (
    "With --broadcast-stdin nobody can be asked: standard input is what is broadcast. Add --yes, "
    "and leave --sas out."
)
NOTHING_TO_SHARE = "Missing argument '[NAME=]TARGET...'. Or broadcast with --broadcast-stdin."
BAD_TICKET = (
    "{path} is not what porttunnel join --remember has written. Remove it and join with a new "
    "code."
)
TICKET_NOT_WRITTEN = (
    "{path} can't be written ({reason}). Choose another --data-dir, or leave --remember out."
)
LEAVING = "Saying goodbye to the tunnel server, which takes its time: some seconds at most."
OUTPUT_LOST = "The output can't be written: nobody reads it, or there is no room. Leaving."

# both

CONNECTING = "Connecting by {server} ..."
NO_SERVER_NAMED = (
    "{text} No server was named, so it was looked for on this machine: name yours with --server, "
    "or PORTTUNNEL_SERVER."
)

# share

SESSION_OPEN = "Session {number} is open. Shared: {shared}."
CODE_INTRODUCTION = "Tell this code to the person who shall come in:"
CODE_INTRODUCTION_SAS = "Tell this number to the person who shall come in:"
CODE_CHANGED = "The code for the next person:"
JOIN_HINT = "On their machine: porttunnel join{server}"
JOIN_HINT_SAS = "On their machine: porttunnel join {number}{server}"
LINK_HINT = "Or the same as a link: {link}"
WAITING = "Ctrl-C ends the session."
CONSENT = "{name} wants to join (code verified). Allow? [y/N] "
ALLOWED = "{name} may join, as --yes says."
REFUSED = "{name} was refused."
NOBODY_ANSWERS = (
    "Standard input has ended, so nobody can say yes here: that is a no. Add --yes to let in "
    "everybody who has the code."
)
ONLY_ONE = "{name} wanted to join too; --once lets only one in."
MEMBER_JOINED = "{name} has joined. Path: through the tunnel server."
MEMBER_AWAY = "{name} is away: the connection is interrupted, and may come back."
MEMBER_BACK = "{name} is back."
MEMBER_TOO_SLOW = "{name}: {text}"
MEMBER_LEFT = "{name} has left."
MEMBER_CUT_OFF = "{name} is gone without a goodbye: {reason}."
JOINER_GONE = "Whoever wanted to join is gone: {reason}."
RUN_FAILED = "Somebody tried to join and was not verified. Nothing was admitted."
JOINING_PAUSED = (
    "{wrong_tries} tries to join were wrong. Somebody may be guessing. "
    "Let people try again? [y/N] "
)
JOINING_PAUSED_JSON = (
    "{wrong_tries} tries to join were wrong: somebody may be guessing. Nobody can join until "
    'you send {{"resume": true}}.'
)
SAS_MASTER_ASKS = "Somebody asks to join. Type the six digits that the person reads out to you: "
SAS_CLIENT_ASKS = "Type the six digits that the person reads out to you: "
SAS_READ_OUT = "Right. Read out to the person: {digits}"
SAS_READ_OUT_FIRST = "Read out to the person who shares: {digits}"
SAS_WRONG = "These are not the digits. Tries left: {tries_left}."
COMMANDS_HINT = "You can type: members, kick N, lock, unlock, help."
COMMANDS_HELP = """\
members   who is in, which way their packets go, and how much has gone
kick N    put member N out
lock      let nobody new in; who is in stays
unlock    let people in again
Ctrl-C    ends the session"""
UNKNOWN_COMMAND = "{line!r} is no command. You can type: members, kick N, lock, unlock, help."
LOCKED = "Locked: nobody new comes in."
UNLOCKED = "Unlocked: people with the code may ask to come in."
NO_MEMBERS = "Nobody is in."
MEMBER_LINE = "{member:>5}  {name}  {path}  {sent} sent, {received} received"
MEMBER_LINE_AWAY = "{line}  (away)"
ONLY_WHO_SHARES = "Only who shares can do that."
BROADCASTING = "Broadcasting standard input; it begins when somebody has joined."
BROADCAST_DONE = "The broadcast has ended: all who are in have all of it."
SHARE_ENDED = "The session has ended. Its number is never used again."

# join

ASK_CODE = "Code: "
NUMBER_ALONE = (
    "That is a session's number alone. Type the whole code; if there is none, as the session is "
    "shared with --sas, start: porttunnel join {number}"
)
TYPE_AGAIN = "{text} Tries left with this code: {tries_left}."
VERIFIED = "{name} is verified. Waiting for their yes ..."
OTHER_SIDE = "The other side"  # whose name is not known yet
JOINED = "You are in. {name} shares: {shared}. Path: through the tunnel server."
PATHS = {"relay": "through the tunnel server", "direct": "direct"}
PATH_DIRECT = "{name}: now directly, without the tunnel server: {reason}."
PATH_RELAY = "{name}: now through the tunnel server: {reason}."
RECONNECTING = "{reason} Reconnecting ... nothing is lost."
BACK = "Back."
PUT_OUT = "The other side has put you out. Ask there, and for a new code, to come in again."
COMING_BACK = "Coming back to session {number} without a code ..."
JOINING_SAS = (
    "Joining session {number} by digits that you read to each other: nothing to come back to it "
    "is kept here. If it has a code, leave the number out and type that."
)
NOT_TAKEN_BACK = (
    "Session {number} does not take you back without a code: it has ended, is locked, was not "
    "shared with --remember, or you were put out. Ask for a new code and give no NUMBER."
)
BROADCAST_ENDED = "The broadcast has ended."
BROADCAST_CUT = (
    "The session ended before the broadcast did: what came is incomplete. Ask for a new code."
)
BROADCAST_LEFT = "You left before the broadcast ended: what came is incomplete."
OUTPUT_TOO_SLOW = (
    "Whoever reads the output is too slow for the broadcast: what came is incomplete. Join again "
    "with a faster reader."
)
LISTENING = "{service}: {address}"
NOT_FORWARDED = "{service} is shared too, but is no plain port; use --socks PORT for it."
STREAM_REFUSED = "{service}: {text}"
SESSION_CLOSED = "The session has ended ({reason})."
LEFT = "You have left the session."
