"""A product's name, as a bundle's manifest takes it: found wanting before the training, not after."""

from pydantic import TypeAdapter, ValidationError

from services.trainer.errors import UnusableProduct
from shared.bank.manifest import Product

_PRODUCT: TypeAdapter[str] = TypeAdapter(Product)


def refuse_unusable_name(product: str) -> None:
    """Raise where no bundle can bear the name.

    Raises:
        UnusableProduct: saying what is wrong with it.
    """
    try:
        _PRODUCT.validate_python(product)
    except ValidationError as error:
        raise UnusableProduct(
            f"no product can be called {product!r:.100}: give --product a name of 1 to 200 characters without line "
            "breaks, tabs or other control characters"
        ) from error
