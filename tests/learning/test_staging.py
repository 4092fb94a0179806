"""Nothing leaves the waiting room early, twice, or after it was taken back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.learning.staging import Staging


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "withdraw", "mature"]), st.integers(0, 9), st.integers(0, 50)), max_size=60
    ),
    st.integers(0, 20),
)
def test_like_a_plain_list_that_is_searched(steps: list[tuple[str, int, int]], wait: int) -> None:
    room, oracle = Staging[int](mature_after_us=wait), dict[str, tuple[int, int]]()
    for count, (step, name, at) in enumerate(steps):
        if step == "add":
            room.add(str(name), at, count)
            oracle[str(name)] = (at + wait, count)
        elif step == "withdraw":
            room.withdraw(str(name))
            oracle.pop(str(name), None)
        else:
            ripe = sorted((due, item, key) for key, (due, item) in oracle.items() if due <= at)
            assert sorted(room.mature(at)) == sorted(item for _, item, _ in ripe)
            for _, _, key in ripe:
                del oracle[key]
    assert len(room) == len(oracle)


def test_beyond_its_capacity_the_oldest_leave_unlearnt() -> None:
    room = Staging[int](mature_after_us=0, capacity=3)
    for n in range(10):
        room.add(str(n), n, n)
    assert room.mature(100) == [7, 8, 9]


def test_coming_and_going_leaves_nothing_behind() -> None:
    room = Staging[int](mature_after_us=0, capacity=10)
    for n in range(1_000):
        room.add("same", n, n)
        room.withdraw("same")
    room.mature(10_000)
    assert len(room) == 0
    assert not room._heap
