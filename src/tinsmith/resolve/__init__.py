"""Which stages turn an issue into a verified patch. Knows no model's syntax."""

from tinsmith.resolve.pipeline import Request, Result, resolve

__all__ = ["Request", "Result", "resolve"]
