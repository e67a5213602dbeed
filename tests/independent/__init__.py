"""A second implementation of `ptun/1`, written from docs/session-protocol alone, of a device of
`ptgw/1` (`device.py`), written from docs/gateway-protocol alone, and a second encoder of MQTT
(`mqtt.py`), written from its norms alone.

It imports nothing of porttunnel. Small and blocking on purpose: what both implementations agree
on is what the page says, not what one of them happens to do.
"""
