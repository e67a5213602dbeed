"""The server's side of WebSocket (RFC 6455), without input or output.

handshake
    the request's head, who is let in on which terms, and the answer
frame
    frames: cutting a connection's bytes into payloads, and the heads of our own
frame_limit
    how much may come at a time
cut
    what is sent, cut for frames
mask
    taking the mask off a payload, where it lies
text
    UTF-8 that comes in pieces
close
    what a Close frame can say
message
    whole messages out of the pieces that come
connection
    one connection after its handshake: messages or a stream of bytes, pings, the closing handshake
state, event
    where it stands, and what it reports

There are no extensions; offers of compression are ignored. ``porttunnel.net.websocket`` runs this
on Twisted.
"""
