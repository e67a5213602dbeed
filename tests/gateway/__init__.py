"""Tests of porttunnel/gateway."""
