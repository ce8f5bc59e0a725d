"""How much may be brought to a store: all while it is well, one a pause while it is not."""

from app.media.health import LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS, StoreHealth


def test_a_store_in_good_health_takes_all() -> None:
    health = StoreHealth()

    assert [health.take_room(room, 0.0) for room in (8, 3, 0)] == [8, 3, 0]


def test_an_ill_store_is_tried_with_one_after_each_pause() -> None:
    health = StoreHealth()
    health.note_trouble(100.0)

    assert health.take_room(8, 100.0) == 0
    assert health.take_room(8, 100.0 + SHORTEST_PAUSE_SECONDS) == 1
    assert health.take_room(8, 100.0 + SHORTEST_PAUSE_SECONDS) == 0


def test_a_try_that_never_ends_does_not_stop_the_next() -> None:
    health = StoreHealth()
    health.note_trouble(100.0)
    assert health.take_room(8, 101.0) == 1

    assert health.take_room(8, 101.0 + LONGEST_PAUSE_SECONDS) == 1


def test_the_pause_grows_with_the_illness_up_to_its_longest() -> None:
    health = StoreHealth()
    health.note_trouble(100.0)
    health.note_trouble(104.0)

    assert health.take_room(8, 105.9) == 0
    assert health.take_room(8, 106.0) == 1
    health.note_trouble(1_000.0)
    assert health.take_room(8, 1_000.0 + LONGEST_PAUSE_SECONDS) == 1


def test_one_success_opens_it_wide() -> None:
    health = StoreHealth()
    health.note_trouble(100.0)

    health.note_success()

    assert not health.is_ill
    assert health.take_room(8, 100.0) == 8
