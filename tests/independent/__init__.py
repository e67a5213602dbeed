"""A second implementation of `ptun/1`, written from docs/session-protocol alone.

It imports nothing of porttunnel. Small and blocking on purpose: what both implementations agree
on is what the page says, not what one of them happens to do.
"""
