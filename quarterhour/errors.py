"""The errors a command may end with: each has a stable code and the exit status of the command line.

The one place that catches them is `quarterhour.cli`. Layers below `quarterhour/` know nothing of these:
a command translates what it catches from them.
"""


class QuarterhourError(Exception):
    """A command ends here, with one clear line on standard error and this exit status."""

    code = "failed"
    exit_status = 1

    def __init__(self, message: str, *, code: str | None = None, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.exit_status = self.exit_status if exit_status is None else exit_status


class AnswerIsNo(QuarterhourError):
    """A check failed or a bill differs: what the command was asked has the answer no."""

    code = "answer_is_no"
    exit_status = 1


class WrongSetting(QuarterhourError):
    """A setting is wrong, unknown or missing: mend it and start again."""

    code = "wrong_setting"
    exit_status = 2


class WrongInput(QuarterhourError):
    """A file or an argument cannot be used as it is."""

    code = "wrong_input"
    exit_status = 2


class PartUnreachable(QuarterhourError):
    """Kafka, PostgreSQL or another part that the command needs does not answer: try again when it does."""

    code = "part_unreachable"
    exit_status = 3
