"""What the agents raise.

AgentError                  whatever stops an agent; its text says what to do
├── SourceError             the picture's source is of no use: it holds no video, for example
│   └── UnreadableError     … cannot be opened or read, now at least
├── PatternError            a picture size the test pattern does not fit
└── PlayError               a call of the player failed; `.exit_code` for the shell
"""


class AgentError(Exception):
    """Whatever stops an agent."""


class SourceError(AgentError):
    """The source cannot be opened, read or decoded."""


class UnreadableError(SourceError):
    """The source cannot be opened or read; a live one may come back."""


class PatternError(AgentError, ValueError):
    """The test pattern does not fit the size asked for."""


class PlayError(AgentError):
    """The player got no media; `exit_code` is what the command ends with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
