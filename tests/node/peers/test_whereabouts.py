"""Where a peer is dialled, by what is told of it."""

from stationkeep.node.peers.whereabouts import Table, Whereabouts

FILE = {"a": "a:1", "b": "b:1"}


def test_one_that_has_not_seen_the_clusters_list_yet_says_where_it_is_itself() -> None:
    """Else a newcomer that the cluster has at a wrong address is never reached: it gets no log, and
    so no list, from members that cannot dial it."""
    cluster, newcomer = Whereabouts("a", FILE), Whereabouts("b", {"a": "a:1", "b": "b:2"})
    told = newcomer.table
    assert told is not None
    assert told.peers == {"b": "b:2"}, "of others it knows no better"
    cluster.hear("b", told, 0.0)
    assert cluster.ways_to("b") == [("b", 1), ("b", 2)]


def test_one_whose_own_file_does_not_say_where_it_is_says_nothing() -> None:
    assert Whereabouts("b", {"a": "a:1"}).table is None


def lagging() -> Whereabouts:
    """Of a node that has started anew behind the others, who have told it of a new member."""
    where = Whereabouts("a", FILE)
    where.replace(FILE, 5)
    where.hear("b", Table(9, {**FILE, "c": "c:1"}), 0.0)
    return where


def test_an_older_list_does_not_take_away_whom_others_know_from_a_newer_one() -> None:
    """The new member may be the leader by now, who alone can send what is missing."""
    where = lagging()
    where.met("c")
    assert where.replace({**FILE, "d": "d:1"}, 8).gone == []
    assert where.ways_to("c") == [("c", 1)]


def test_a_list_as_new_as_what_was_told_decides_who_is_a_peer() -> None:
    assert lagging().replace({**FILE, "d": "d:1"}, 9).gone == ["c"]
    assert lagging().replace({**FILE, "c": "c:1"}, 9) == ([], [])


def test_who_was_not_met_stays_hearsay_after_an_older_list() -> None:
    where = lagging()
    where.replace({**FILE, "d": "d:1"}, 8)
    assert where.hearsay == {"c"}
