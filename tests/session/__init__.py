"""Tests of porttunnel/session."""
