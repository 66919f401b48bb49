"""Which stages turn an issue into a verified patch. Knows no model's syntax."""

from tinsmith.resolve.pipeline import resolve, resume
from tinsmith.resolve.request import Request, Result

__all__ = ["Request", "Result", "resolve", "resume"]
