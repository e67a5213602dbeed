"""Tests of porttunnel/services."""
