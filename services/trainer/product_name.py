"""A product's name, as a bundle's manifest and the line take it: found wanting before the training, not after."""

from pydantic import TypeAdapter, ValidationError

from services.trainer.errors import UnusableProduct
from shared.bank.manifest import Product

_PRODUCT: TypeAdapter[str] = TypeAdapter(Product)


def refuse_unusable_name(product: str) -> None:
    """Raise where no bundle can bear the name, or no picture that is sent down a line.

    Raises:
        UnusableProduct: saying what is wrong with it.
    """
    if not _is_usable(product):
        raise UnusableProduct(
            f"no product can be called {product!r:.100}: give --product a name of 1 to 200 printable characters "
            "without spaces at either end"
        )


def _is_usable(product: str) -> bool:
    try:
        _PRODUCT.validate_python(product)
    except ValidationError:
        return False
    return product == product.strip() and product.isprintable()  # as the gateway takes it
