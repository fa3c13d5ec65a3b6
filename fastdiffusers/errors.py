"""What a user did wrong, in one line.

Every error here means: one line on stderr, no traceback, exit code 2. The message says what is wrong, with the value,
and what would be valid.
"""


class UserError(Exception):
    """Something the user can mend; the message is one line with the offending value and the valid choices."""


class InputError(UserError):
    """A value, a picture, a prompt or a data folder that cannot be used."""


class WeightsError(UserError):
    """A checkpoint that is missing, truncated, of another layout, or does not fit the model."""


class PlanError(UserError):
    """Accelerators that cannot be parsed, do not exist, or do not go together."""


class PluginError(UserError):
    """A plugin that is broken, blocked, or breaks its contract."""


class MissingDependency(UserError):
    """A package or program that is not installed; the message holds the command that installs it."""


class CompileError(UserError):
    """A compiler or engine that is not there, cannot take these blocks, or computes something else than they do."""


class NumericalError(UserError):
    """NaN or infinity where numbers are needed; the message says at which step."""


def one_of(what: str, value: object, valid: object) -> str:
    """The sentence used whenever a name is not among the valid ones: ``unknown WHAT 'value'; valid: a, b, c``."""
    choices = sorted(str(item) for item in valid)  # type: ignore[attr-defined]
    return f"unknown {what} {str(value)!r}; valid: {', '.join(choices) or '(none)'}"
