"""Tests of porttunnel/keys; reference.py is a second implementation of what they check."""
