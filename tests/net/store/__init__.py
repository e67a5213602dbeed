"""Tests of porttunnel/net/store."""
