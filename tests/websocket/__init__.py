"""Tests of porttunnel/websocket; client.py is the other side, written apart from it.

test_autobahn_*.py say what the Autobahn testsuite says of servers, case by case: that program runs
on Python 2 only.
"""
