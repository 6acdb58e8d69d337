"""The threshold between pass and reject, and what it promises."""
