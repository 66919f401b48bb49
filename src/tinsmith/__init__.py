"""Tinsmith resolves issues in a repository with a small coding model on the machine it runs on."""

__version__ = "0.1.0"
