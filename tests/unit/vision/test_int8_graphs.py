import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vision.int8_graphs import Int8Graph, Int8Graphs

GRAPHS = st.dictionaries(
    st.integers(1, 1024), st.builds(Int8Graph, st.binary(min_size=1), st.binary(min_size=1)), min_size=1, max_size=3
).map(Int8Graphs)


@given(GRAPHS)
def test_graphs_come_back_from_their_arrays(graphs: Int8Graphs) -> None:
    again = Int8Graphs.from_arrays(tuple(graphs.by_size), graphs.arrays())
    assert (again, again.sha256) == (graphs, graphs.sha256)


def test_the_digest_tells_sizes_and_parts_apart() -> None:
    some = [
        {256: Int8Graph(b"ab", b"c")},
        {256: Int8Graph(b"a", b"bc")},
        {512: Int8Graph(b"ab", b"c")},
        {256: Int8Graph(b"ab", b"c"), 512: Int8Graph(b"ab", b"c")},
    ]
    assert len({Int8Graphs(by_size).sha256 for by_size in some}) == len(some)


def test_arrays_that_are_no_graphs_are_refused_by_name() -> None:
    arrays = Int8Graphs({256: Int8Graph(b"ab", b"c")}).arrays()
    with pytest.raises(KeyError, match=r"graph512\.topology\.npy"):
        Int8Graphs.from_arrays((256, 512), arrays)
    with pytest.raises(ValueError, match=r"graph256\.topology\.npy.*of sizes that the recipe does not have"):
        Int8Graphs.from_arrays((512,), arrays)
    with pytest.raises(ValueError, match=r"graph256\.weights\.npy holds float32 \(1,\), and not bytes"):
        Int8Graphs.from_arrays((256,), arrays | {"graph256.weights.npy": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="one of which is empty"):
        Int8Graphs({256: Int8Graph(b"ab", b"")})
