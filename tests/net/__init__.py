"""Tests of porttunnel/net."""
