"""What can be wrong with the material for training and evaluation.

ConfigurationError
└── TrainingError
    ├── NoPictures          a folder has no usable picture
    ├── UnreadableFile      a picture or a folder that the system does not give
    ├── AmbiguousPictures   pictures are given as good ones and as defects
    ├── TooFewNormals       nothing can be held out from one picture
    ├── UnusableGroups      the groups CSV does not fit the pictures
    ├── PromiseRefused      the pictures cannot carry the promise that was asked for
    ├── NothingAffordable   no recipe keeps the bound on its cost
    ├── UnusableProduct     no bundle can bear the product's name
    ├── UnusableRecipe      a recipe's file cannot be read
    ├── UnusableMasks       no mask fits an abnormal picture, or a mask cannot be read
    ├── CannotUpdate        a bundle that does not remember what an update needs
    ├── SwallowsDefects     an update after which known defects would pass
    ├── StrangePictures     an update with pictures that are not like the bundle's own
    ├── UnwritableOutput    nothing can be written where an evaluation's outcome is to go
    ├── QuantisationFailed  no int8 graphs could be made
    └── StaleBundle         made with other weights or preprocessing than this version's
"""

from shared.errors import ConfigurationError


class TrainingError(ConfigurationError):
    """Pictures, groups or masks that cannot be used as they are."""


class NoPictures(TrainingError):
    """A folder that is not there, or has no picture that can be used."""


class UnreadableFile(TrainingError):
    """A picture's file, or a folder, that cannot be read: no permission, gone, a share that does not answer."""


class AmbiguousPictures(TrainingError):
    """Pictures that are given both as good and as defective."""


class TooFewNormals(TrainingError):
    """Fewer than two normal pictures or groups: none can be held out to learn what scores normals have."""


class UnusableGroups(TrainingError):
    """A groups CSV that cannot be read, or does not say which group a picture belongs to."""


class PromiseRefused(TrainingError):
    """A rate that cannot be promised with these pictures, or two that cannot be kept together."""


class NothingAffordable(TrainingError):
    """A bound on a picture's cost that not even the cheapest recipe keeps."""


class UnusableProduct(TrainingError):
    """A name that a product cannot have."""


class UnusableRecipe(TrainingError):
    """A file that does not hold a recipe."""


class UnusableMasks(TrainingError):
    """Masks that do not mirror the abnormal folder, or cannot be read."""


class QuantisationFailed(TrainingError):
    """A graph that could not be quantised."""


class StaleBundle(TrainingError):
    """A bundle whose feature space this version does not make any more."""


class CannotUpdate(TrainingError):
    """A bundle that normals cannot be added to."""


class SwallowsDefects(TrainingError):
    """An update after which defects would pass that are rejected today."""


class StrangePictures(TrainingError):
    """An update with pictures of another product, or with defects as good ones."""


class UnwritableOutput(TrainingError):
    """A report or scores that cannot be written where they are to go."""
