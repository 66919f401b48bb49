"""What the model is told of the five tools. One line each: every token here is paid in every run."""

from tinsmith.dialects import Parameter, ToolSpec

_PATH = Parameter("path", "string", "file, from the repository's root")

SEARCH = ToolSpec(
    "search",
    "Find a regular expression in the repository; answers files with the lines that match.",
    (
        Parameter("pattern", "string"),
        Parameter("path", "string", "file or directory to search in", required=False),
    ),
)
READ = ToolSpec(
    "read",
    "Show lines of a file with their numbers (every fifth, where they are many), or of an output:N.",
    (_PATH, Parameter("start", "integer", "first line"), Parameter("end", "integer", "last line")),
)
EDIT = ToolSpec(
    "edit",
    "Replace lines start..end that were shown, or the unique text old, by new. A path that does not exist is created.",
    (
        Parameter("path", "string"),
        Parameter("start", "integer", required=False),
        Parameter("end", "integer", required=False),
        Parameter("old", "string", required=False),
        Parameter("new", "string"),
    ),
)
RUN = ToolSpec(
    "run",
    "Run a shell command in the repository; no network.",
    (Parameter("command", "string"),),
)
FINISH = ToolSpec(
    "finish",
    "Say that the issue is fixed; the tests then decide.",
    (Parameter("summary", "string", "what was wrong and what changed"),),
)

TOOLS = (SEARCH, READ, EDIT, RUN, FINISH)
