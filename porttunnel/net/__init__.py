"""Where Twisted begins: cores on transports, and streams as endpoints."""
