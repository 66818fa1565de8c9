"""The one kind of error a user is meant to read."""


class ThoraxError(Exception):
    """A mistake in what the user gave, or a limit of the machine: never a bug of ours.

    The message is one line: which flag or file, what was found, what to do next. Entry points print it
    without a traceback, write it to output/failure and exit with code 1.
    """
