"""Tests of porttunnel/mqtt."""
