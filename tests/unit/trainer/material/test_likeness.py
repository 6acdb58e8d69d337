import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer.material.likeness import _squared_distances, alike_groups


def parts(count: int, pictures: int, seed: int) -> NDArray[np.float32]:
    """Several nearly equal pictures of each of some parts, (count x pictures, 20)."""
    random = np.random.default_rng(seed)
    of_parts = random.standard_normal((count, 1, 20))
    made: NDArray[np.float32] = (
        (of_parts + 0.05 * random.standard_normal((count, pictures, 20))).reshape(-1, 20).astype(np.float32)
    )
    return made


@given(seed=st.integers(0, 50))
def test_pictures_of_one_part_fall_into_one_group_and_those_of_a_different_one_do_not(seed: int) -> None:
    normals, groups = parts(12, 5, seed), [f"part {index // 5}" for index in range(60)]
    found = alike_groups(np.concatenate([parts(3, 4, seed + 1000), parts(1, 4, seed) + 9]), normals, groups)
    for part in range(4):
        assert len(set(found[4 * part : 4 * part + 4])) == 1
    assert found[-1] not in found[:12]


@given(seed=st.integers(0, 50))
def test_in_which_units_and_from_where_a_feature_is_counted_changes_no_group(seed: int) -> None:
    normals, groups = parts(12, 5, seed), [f"part {index // 5}" for index in range(60)]
    defective = np.concatenate([parts(3, 4, seed + 1000), normals[:20:2] + np.float32(0.3)])
    units = np.float32(2) ** np.arange(-10, 10, dtype=np.float32)
    counted_otherwise = [(each + np.float32(5)) * units for each in (defective, normals)]
    assert alike_groups(*counted_otherwise, groups) == alike_groups(defective, normals, groups)


def test_distances_are_squared_lengths() -> None:
    points = parts(3, 2, 0)
    expected = [[((one - other) ** 2).sum() for other in points] for one in points]
    np.testing.assert_allclose(_squared_distances(points), expected, atol=1e-4)


def test_groups_are_the_same_every_time() -> None:
    normals, groups = parts(12, 5, 0), [f"part {index // 5}" for index in range(60)]
    assert alike_groups(normals, normals, groups) == alike_groups(normals, normals, groups)
