"""Which stages turn an issue into a verified patch. Knows no model's syntax."""

from tinsmith.resolve.pipeline import resolve, resume
from tinsmith.resolve.request import Request, Result
from tinsmith.resolve.speaking import engine_choice

__all__ = ["Request", "Result", "engine_choice", "resolve", "resume"]
