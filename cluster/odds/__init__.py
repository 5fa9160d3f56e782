"""Odds: what a settings set promises under a loss model, computed instead of guessed.

Two questions are answered for a healthy or a failed node X that the Raft leader L watches:
how long until L falsely takes X for failed, and how long until it notices a real failure.

**One sample.** Per evaluation X sends m = floor(evaluation_interval / report_interval) reports,
evenly spread (`Observation.spacing`); real nodes send up to a tenth more, so m is a lower bound.
A sample is *missed* when nothing X sent since the last evaluation reached L in time: not
directly, and through no peer P, whose own reports say what it last heard of X. A relay counts
as late as it can: in each slot P speaks just before X does, so it always tells of the slot
before. A report that P heard before the last evaluation is no news (it is too old to count),
so that windows are linked through the state of the channels alone.

**Two models of who loses together** (`observation`):

- *links*: each of the links X→L, X→P, P→L (N-2 peers) loses on its own;
- *uplink*: what X sends is lost to everybody at once, so no relay helps. The conservative one.

**Packets and messages** (`silence`). What is lost are packets. On the datagram lane a report is
one packet, and all of the above holds; that every report also travels on a stream, and may arrive
there later, is not counted on. Where only streams get through, a lost packet delays all behind it:
those figures are coarser, and say so.

**What else losses cost** (`tenure`): elections of Raft leaders, and seconds without a PRIMARY that
may act because its lease was not renewed. Both as upper bounds.

**Two models of loss** (`loss`): independent, or Gilbert-Elliott: a channel in continuous time
that loses everything while bad and nothing while good.

**From samples to triggers** (`chain`). With channel states c and runs r < f the watch is a Markov
chain on (c, r), left when the run reaches f. Let M[c, c'] be the probability that a window which
begins in c is missed and ends in c', and H the same for a heard one; M + H is stochastic. With
E_r the vector of expected samples until the run reaches f:

    E_r = 1 + M E_{r+1} + H E_0,   E_f = 0
    =>  E_0 = W 1 + W H E_0   with   W = I + M + … + M^(f-1).

So only run 0 remains: a chain with kernel K = W H, mean sojourn W 1, and the chance a = M^f 1 of
being absorbed instead. Its rows sum to 1 with a, and a may be 1e-30: (I - K) solved as it stands
would lose every digit. `chain.expected_time` eliminates state by state and takes each pivot
1 - K[k, k] as the sum of what leaves k (Grassmann, Taksar and Heyman), so nothing is ever
subtracted and the result is good to nearly full precision however rare the event.
The start is a healthy cluster: channels as in the long run, the last sample heard.

**A real failure** (`failover`) at a uniformly random instant, with the run that losses have left.

Votes are left out of the false rates: a false trigger still has to convince two thirds of the
nodes, so real false failovers are no more frequent than said. A Raft leader that is X itself
always hears X; the odds are for the other case.

None of this is taken on trust: `trial` counts the same figures over the real state machine, and
tests/node/test_odds_gossip.py holds `miss` against real nodes' reports. Not modelled in
failures and their healing: lost commits (the survivors' log is taken as working), drifting clocks,
and nodes that fail together; nor that a PRIMARY whose lease lapsed for several evaluations counts
as failed: `tenure` says how seldom it lapses at all.
"""

from stationkeep.cluster.odds.failover import Spread
from stationkeep.cluster.odds.forecast import Forecast, Model, Outlook, curve, forecast
from stationkeep.cluster.odds.loss import Loss, LossError
from stationkeep.cluster.odds.silence import Lane

__all__ = [
    "Forecast",
    "Lane",
    "Loss",
    "LossError",
    "Model",
    "Outlook",
    "Spread",
    "curve",
    "forecast",
]
