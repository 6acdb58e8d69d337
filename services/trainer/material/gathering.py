"""The pictures that a bundle is made from, sorted out; what cannot work is refused here, before the long work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.errors import TooFewNormals
from services.trainer.material.copies import Distinct, refuse_shared
from services.trainer.material.folders import find_defective, refuse_overlap
from services.trainer.material.masks import Masks, refuse_masks_alone
from services.trainer.material.picture_features import Unreadable, sort_out
from services.trainer.material.pictures import find_pictures, read_group_table, read_groups
from services.trainer.progress import Progress
from services.trainer.promise.thresholds import Asked


@dataclass(frozen=True, slots=True)
class Material:
    """Good and defective pictures that can be read, none of them twice."""

    normals: Distinct
    abnormals: Distinct
    masks: Masks
    """Of the abnormals."""
    unreadable: tuple[Unreadable, ...]

    @classmethod
    def gather(
        cls,
        normal: Path,
        abnormal: Path | None,
        masks: Path | None,
        groups: Path | None,
        *,
        asked: Asked,
        progress: Progress,
    ) -> "Material":
        """Walk the folders.

        Args:
            normal: folder of good pictures.
            abnormal: folder of defective ones.
            masks: folder that mirrors `abnormal`.
            groups: CSV of ``file,group``.
            asked: what the threshold is to promise.
            progress: told how far reading is.

        Raises:
            AmbiguousPictures: pictures are given as good and as defective.
            NoPictures: a folder has none that can be read.
            TooFewNormals: all good pictures are copies of one.
            UnusableGroups: the groups do not fit the pictures.
            UnusableMasks: the masks do not fit the defective pictures, or there are none of these.
            PromiseRefused: the pictures cannot carry what was asked for by name.
        """
        if abnormal:
            refuse_overlap(normal, abnormal)
        else:
            asked.refuse_without_defects("give --abnormal")
            refuse_masks_alone(masks)
        if groups:
            read_group_table(groups)  # refuses one that cannot be read, before the long work
        found = find_pictures(normal), find_defective(abnormal) if abnormal else ()
        normals, unreadable_normals = sort_out("reading pictures", normal, found[0], progress)
        abnormals, unreadable_abnormals = sort_out("reading defective pictures", abnormal, found[1], progress)
        _refuse_one(normals, normal)
        refuse_shared(normals, abnormals)
        asked.refuse_early(len(normals.files), read_groups(groups, normals.files))
        found_masks = Masks.find(masks, abnormals.files)
        return cls(normals, abnormals, found_masks, (*unreadable_normals, *unreadable_abnormals))

    @property
    def summary(self) -> dict[str, Any]:
        """For the bundle: what was left out, and by which digests a picture is known again."""
        return {
            "unreadable": [each.name for each in self.unreadable],
            "masks": self.masks.telling,
            "copies": len(self.normals.copies) + len(self.abnormals.copies),
            "digests": {"normals": self.normals.digests, "abnormals": self.abnormals.digests},
        }

    @property
    def warnings(self) -> list[str]:
        """Of copies."""
        return [*self.normals.warnings, *self.abnormals.warnings]


def _refuse_one(normals: Distinct, folder: Path) -> None:
    if len(normals.files) == 1 and normals.copies:
        raise TooFewNormals(
            f"all {1 + len(normals.copies)} pictures in {folder} are copies of one, {normals.files[0].name}, and the "
            "same picture again tells nothing new: training needs two different ones at least"
        )
