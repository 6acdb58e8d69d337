import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer.material.likeness import alike_groups


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


def test_groups_are_the_same_every_time() -> None:
    normals, groups = parts(12, 5, 0), [f"part {index // 5}" for index in range(60)]
    assert alike_groups(normals, normals, groups) == alike_groups(normals, normals, groups)
