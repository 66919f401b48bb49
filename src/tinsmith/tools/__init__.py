"""What the model may do: search, read, edit, run, finish, and the domain of every argument."""

from tinsmith.tools.files import Files, Refused
from tinsmith.tools.line_edits import candidate_edits
from tinsmith.tools.listing import Excerpt, numbered, shown
from tinsmith.tools.shown_lines import ShownLines
from tinsmith.tools.specs import EDIT, FINISH, READ, RUN, SEARCH, TOOLS
from tinsmith.tools.toolbox import Choices, Missed, Observation, Shell, Toolbox, clipped

__all__ = [
    "EDIT",
    "FINISH",
    "READ",
    "RUN",
    "SEARCH",
    "TOOLS",
    "Choices",
    "Excerpt",
    "Files",
    "Missed",
    "Observation",
    "Refused",
    "Shell",
    "ShownLines",
    "Toolbox",
    "candidate_edits",
    "clipped",
    "numbered",
    "shown",
]
