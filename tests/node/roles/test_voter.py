"""Votes: owed until in the log, cast on what was heard first hand, withheld when deaf."""

from stationkeep.cluster.commands import Policy
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.node.config.node_config import NodeConfig
from tests.node.world import World


def settled(world: World) -> World:
    world.run_until(lambda: world.primary is not None, 8)
    world.run(16)
    return world


def ballots(world: World, matter: str, outcome: Outcome) -> dict[str, tuple[bool, str, str]]:
    decisions = world.loops["sat-002"].replica.state.decisions
    found = next(d for d in decisions if d.matter == matter and d.outcome is outcome)
    return {b.voter: (b.approve, b.grounds, b.policy) for b in found.ballots}


def test_a_lost_vote_is_cast_again() -> None:
    world = settled(World(5))
    world.loss = 0.5
    first = world.primary
    assert first is not None
    world.health[first].risk = 0.9
    world.run_until(lambda: world.primary not in (None, first), 60)


def test_a_healthy_word_heard_first_hand_denies_a_failure() -> None:
    """All of the leader's news of the PRIMARY is bad, the voters' own is good: no change."""
    world = settled(World(5))
    first, leader = world.primary, world.leader
    assert first is not None
    assert leader not in (None, first)
    gossip = world.loops[leader].gossip  # type: ignore[index]
    honest = gossip.samples

    def slander(*window: float):
        return tuple(
            sample if sample.node != first else type(sample)(first, 1, 900_000, "slander", 0)
            for sample in honest(*window)
        )

    gossip.samples = slander  # type: ignore[method-assign]
    world.run(8)
    assert world.primary == first
    votes = ballots(world, "primary_failed", Outcome.DENIED)
    assert Reason.HEARD_HEALTHY in {grounds for _, grounds, _ in votes.values()}


def test_a_local_policy_denies_by_name() -> None:
    class Strict(World):
        def config(self, name: str) -> NodeConfig:
            quiet = Policy("quiet", "safety", 1_000_000, ("*->BACKUP",))
            config = super().config(name)
            return NodeConfig(
                **{
                    **{f: getattr(config, f) for f in config.__struct_fields__},
                    "policies": (quiet,),
                }
            )

    world = Strict(3)
    world.run_until(lambda: world.primary is not None, 5)
    world.run(10)
    votes = ballots(world, "recover", Outcome.DENIED)
    assert set(votes.values()) == {(False, "policy", "quiet")}


def test_one_ballot_each() -> None:
    world = settled(World(7))
    for decision in world.loops["sat-002"].replica.state.decisions:
        voters = [ballot.voter for ballot in decision.ballots]
        assert len(voters) == len(set(voters))
