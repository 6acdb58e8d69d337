"""What can go wrong in the extractor alone.

ChipsieveError
└── RecipeUnsupported (NotReady)    this process cannot compute what a recipe asks for: its chips wait, others do not
"""

from shared.errors import NotReady


class RecipeUnsupported(NotReady):
    """This process cannot compute what a recipe asks for."""
