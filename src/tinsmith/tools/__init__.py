"""What the model may do: search, read, edit, run, finish, and the domain of every argument."""

from tinsmith.tools.domains import Choices
from tinsmith.tools.files import Files, Refused
from tinsmith.tools.foreign_tools import ForeignTools
from tinsmith.tools.line_edits import candidate_edits
from tinsmith.tools.listing import Excerpt, numbered, shown
from tinsmith.tools.outputs import Outputs
from tinsmith.tools.places import Missed
from tinsmith.tools.results import Observation, Shell, ShellResult
from tinsmith.tools.shortening import shorten
from tinsmith.tools.shown_lines import ShownLines
from tinsmith.tools.specs import EDIT, FINISH, READ, RUN, SEARCH, TOOLS
from tinsmith.tools.test_digest import describe, failure_text
from tinsmith.tools.toolbox import Toolbox

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
    "ForeignTools",
    "Missed",
    "Observation",
    "Outputs",
    "Refused",
    "Shell",
    "ShellResult",
    "ShownLines",
    "Toolbox",
    "candidate_edits",
    "describe",
    "failure_text",
    "numbered",
    "shorten",
    "shown",
]
