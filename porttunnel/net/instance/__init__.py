"""The instance: an agent beside a web system behind a firewall."""
