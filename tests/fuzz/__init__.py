"""Fuzz targets for everything that a stranger's bytes reach; each docstring is an invariant."""
