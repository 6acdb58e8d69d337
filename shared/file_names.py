"""Names of files as text: a file system's bytes need not be UTF-8, what is written about them must."""


def readable(name: str) -> str:
    """A file's name as text that can be written anywhere: its bytes that are no UTF-8 as `\\udcfc`."""
    return name.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """A file's name, or other text from elsewhere, that does nothing to a terminal: control characters as `\\x1b`."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
