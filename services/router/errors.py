"""The router's exceptions.

ConfigurationError (shared.errors)
└── InvalidRules       the rules file cannot be read, or says something that cannot be meant
"""

from shared.errors import ConfigurationError


class InvalidRules(ConfigurationError):
    """The rules file cannot be read, or a rule in it cannot be meant; names the file, the key and the remedy."""
