"""porttunnel: reach what is behind a firewall without opening a port.

The map of the package; each row may import only what stands above it (a test walks this):

========================  ======================================================================
``errors``                every exception, its tree drawn in the docstring
``machine``, ``wire``     the verbs that every core speaks; bounded readers and writers
``keys``                  who and secrets: primitives, CPace, hybrid keys, handshake, sealing
``session``               the session tunnel: codes, packets, records, streams, pairs, members
``gateway``               what device and instance say through a gateway, and its rules
``net``                   where Twisted begins: drivers, carriers, server, endpoints
``services``, ``cli``     what ``twistd`` runs; what people type
========================  ======================================================================

``errors`` to ``gateway`` are pure: no clock, socket, logging, environment or Twisted.
"""

__version__ = "0.1.0"
