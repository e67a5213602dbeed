"""The device: asks a web system behind a firewall through the gateway."""
