"""What is wrong with the data, in one message."""


class DataError(ValueError):
    """Data that cannot be merged: the message names the part, the row and the values."""


def problem(message, expected=None, received=None, fix=None):
    """Returns the error: what is wrong, what was expected, what was received and what to do about it."""
    parts = (("Expected", expected), ("Received", received), ("Fix", fix))
    return DataError("\n".join([message, *(f"  {label}: {text}" for label, text in parts if text is not None)]))


def reason(error):
    """What an error of somebody else's code says, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def span(rows):
    """The numbers of some rows, for a message: "row 3", or "rows 0 to 31"."""
    first, last = min(rows), max(rows)
    return f"row {first}" if first == last else f"rows {first} to {last}"
