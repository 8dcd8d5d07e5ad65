"""Nobody is promoted without every acknowledged write: the protocol of protocol.py, step by step in any order.

Below are the traces: for each thing that the protocol does, what happens without it. test_protocol_machine.py takes the steps at
random.
"""

from __future__ import annotations

from protocol import Variant, World


def acknowledge_by(world: World, primary: str, replica: str) -> None:
    """A write that the primary and this replica have, and nobody else."""
    world.write(primary).receive(replica).report(replica)
    assert world.servers[primary].log[-1].number in world.acknowledged


def through_the_gate(world: World, candidate: str) -> bool:
    """Whether it comes to a promotion, which then takes place."""
    world.take(candidate).read(candidate).ask(candidate).decide(candidate)
    if not world.servers[candidate].attempt:
        return False
    world.promote(candidate)
    return True


def the_window(variant: Variant) -> World:
    """n2 lags, n3 alone has confirmed a write and leaves; Patroni at once makes n2 the only voter. Then n1 is lost."""
    world = World(3, variant)
    if not variant.barrier_last:
        world.measure("n1")
    acknowledge_by(world, "n1", "n3")
    world.leave("n3").look("n1").apply("n1").apply("n1")
    assert world.etcd.sync[-1].voters == {"n2"}
    return world


def confirmed(world: World) -> World:
    if world.variant.barrier_last:
        world.see("n1").measure("n1")
    else:
        world.see("n1")
    return world.judge("n1").confirm("n1")


def promoted_over(world: World, former: str = "n1") -> World:
    """n2 leads, because the former leader is lost; n3 follows."""
    world.expire(former)
    assert through_the_gate(world, "n2")
    return world.follow("n3").receive("n3")


# The window that stock Patroni leaves when a voter leaves


def test_who_lacks_what_only_the_voter_that_left_had_confirmed_is_not_promoted() -> None:
    world = the_window(Variant()).expire("n1")
    assert not through_the_gate(world, "n2")
    assert through_the_gate(world, "n3")
    assert not world.lost


def test_once_confirmed_the_voter_that_stays_is_enough() -> None:
    world = the_window(Variant()).receive("n2").report("n2")
    confirmed(world).crash("n3").expire("n1")
    assert through_the_gate(world, "n2")
    assert not world.lost


def test_stock_patroni_loses_the_write() -> None:
    world = the_window(Variant(gate=False)).expire("n1").take("n2").promote("n2")
    assert world.lost


def test_a_gate_that_asks_only_the_configuration_in_force_loses_it() -> None:
    world = the_window(Variant(whole_history=False)).expire("n1")
    assert through_the_gate(world, "n2")
    assert world.lost


def test_a_confirmation_that_does_not_wait_for_the_barrier_loses_it() -> None:
    world = confirmed(the_window(Variant(waits=False))).expire("n1")
    assert through_the_gate(world, "n2")
    assert world.lost


def test_a_barrier_that_was_read_before_sync_was_seen_loses_it() -> None:
    world = confirmed(the_window(Variant(barrier_last=False))).expire("n1")
    assert through_the_gate(world, "n2")
    assert world.lost


def test_the_voter_that_left_and_has_not_read_its_own_log_yet_is_no_witness() -> None:
    for own_log in (True, False):
        world = the_window(Variant(own_log=own_log)).crash("n3").restart("n3").expire("n1")
        assert through_the_gate(world, "n2") is not own_log
        assert bool(world.lost) is not own_log
        if own_log:
            assert through_the_gate(world.catch_up("n3"), "n3")


# An old primary that lives on without the leader key


def alone(variant: Variant) -> World:
    """n1's Patroni is about to publish that it has no replica, and to acknowledge alone. It loses the key; n2 is at the gate."""
    world = World(3, variant).cut("n2", "n3").look("n1").expire("n1")
    return world.take("n2").read("n2").ask("n2")


def test_an_old_primary_can_not_release_itself_once_sync_is_claimed() -> None:
    world = alone(Variant(zombie=True)).decide("n2").apply("n1").write("n1").promote("n2")
    assert not world.servers["n1"].plan
    assert not world.lost


def test_whoever_was_released_before_the_claim_stops_it() -> None:
    world = alone(Variant(zombie=True)).apply("n1").apply("n1").write("n1").decide("n2")
    assert world.acknowledged
    assert not world.servers["n2"].attempt


def test_without_the_claim_it_acknowledges_alone_what_is_lost() -> None:
    world = alone(Variant(zombie=True, claims=False)).decide("n2").apply("n1").apply("n1").write("n1").promote("n2")
    assert world.lost


def test_a_primary_that_is_counted_as_a_vote_still_acknowledges_with_the_others() -> None:
    """Any two of three have a say: n2 and n1, which lives on with n3 at its side."""
    for votes in (False, True):
        world = World(3, Variant(zombie=True, primaries_vote=votes)).crash("n3").restart("n3").follow("n3")
        world.expire("n1").crash("n3").take("n2").read("n2").ask("n2")
        assert bool(world.servers["n2"].attempt and world.servers["n2"].attempt.missing) is not votes


# More than one failover


def test_a_former_leader_that_lags_is_not_trusted_without_a_vote() -> None:
    """/sync still names n1 as the leader, because n2's Patroni has not come to write it anew."""
    for ages in (True, False):
        world = promoted_over(World(3, Variant(leaders_age=ages))).restart("n1").follow("n1").receive("n1")
        acknowledge_by(world, "n2", "n3")
        world.expire("n2")
        assert through_the_gate(world, "n1") is not ages
        assert bool(world.lost) is not ages


def unrewound(variant: Variant) -> World:
    """n1 was lost with writes that nobody else has, and comes back when n2, which led meanwhile, is lost, too."""
    world = promoted_over(World(3, variant).write("n1", "n1"))
    acknowledge_by(world, "n2", "n3")
    world.expire("n2").restart("n1").catch_up("n1")
    assert len(world.servers["n1"].log) >= len(world.servers["n3"].log)
    return world


def test_a_former_leader_that_is_ahead_on_its_old_timeline_is_not_promoted() -> None:
    world = unrewound(Variant())
    assert not through_the_gate(world, "n1")
    assert through_the_gate(world, "n3")
    assert not world.lost


def test_by_positions_alone_it_would_win_and_lose_what_was_written_since() -> None:
    world = unrewound(Variant(timelines=False))
    assert through_the_gate(world, "n1")
    assert world.lost


def followed_by_nobody(variant: Variant) -> World:
    """n1 is promoted and lost before anybody follows. Then n2 leads, and is lost, too, when n1 comes back, not rewound."""
    world = World(3, variant).expire("n1").restart("n1").catch_up("n1")
    assert through_the_gate(world, "n1")
    world.expire("n1")
    assert through_the_gate(world, "n2")
    world.follow("n3").receive("n3").report("n3")
    return world.expire("n2").restart("n1").catch_up("n1")


def test_who_was_promoted_and_followed_by_nobody_is_not_taken_for_the_one_after_it() -> None:
    world = followed_by_nobody(Variant())
    assert not through_the_gate(world, "n1")
    assert through_the_gate(world, "n3")
    assert not world.lost


def test_with_two_timelines_of_one_number_it_is() -> None:
    world = followed_by_nobody(Variant(reserves=False))
    assert through_the_gate(world, "n1")
    assert world.lost


def test_who_is_promoted_when_the_key_is_long_gone_is_on_an_earlier_timeline() -> None:
    """n2 hangs between the gate and its promotion for longer than ttl, and Patroni does not call the promotion off in time."""
    for reserves in (True, False):
        world = World(3, Variant(late=True, reserves=reserves))
        world.expire("n1").take("n2").read("n2").ask("n2").decide("n2").expire("n2")
        assert through_the_gate(world, "n3")
        world.promote("n2")
        assert (world.servers["n3"].timeline > world.servers["n2"].timeline) is reserves


# The limits: lost with the protocol as it is built


def test_limit_a_voter_that_goes_on_acknowledging_to_a_living_old_primary() -> None:
    """Only where the lease's promise is broken. Patroni drops the stream of one that has lost the race; nothing enforces it."""
    world = World(3, Variant(zombie=True, deaf=False)).expire("n1").take("n2").read("n2").ask("n2")
    acknowledge_by(world, "n1", "n3")
    world.decide("n2").promote("n2")
    assert world.lost


def test_limit_a_primary_that_was_never_stopped_takes_the_key_back_past_the_gate() -> None:
    """Only where the lease's promise is broken, and the one that led meanwhile was lost before it wrote /history."""
    world = promoted_over(World(3, Variant(zombie=True)))
    acknowledge_by(world, "n2", "n3")
    world.crash("n2").expire("n2").regain("n1")
    assert world.lost


def test_once_history_is_written_it_does_not() -> None:
    world = promoted_over(World(3, Variant(zombie=True))).write_history("n2").crash("n2").expire("n2")
    assert ("regain", "n1") not in world.possible()
