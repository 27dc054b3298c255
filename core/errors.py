"""The one exception that a user is meant to read."""


class PanobenchError(Exception):
    """A problem that the user can mend: one line that names the file or key, what was found, and what to do.

    The command line prints it as ``panobench: error: ...`` and exits 1, without a traceback. Every more specific error
    of the project (a broken video, a bad parameter) is a subclass.
    """


def did_you_mean(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """``"; did you mean 'x'?"`` for the nearest of the known names, or an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
