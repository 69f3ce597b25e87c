//! What the hops of a protocol with a leader and two rounds of votes take, by the delays of the links alone.

/// A network, for [`Hops::to_final_us`].
pub(crate) struct Hops<'a> {
    /// One way, from node to node, in microseconds.
    pub(crate) delays: &'a [Vec<u64>],
    /// Nodes that run.
    pub(crate) up: &'a [usize],
    /// Votes of a certificate.
    pub(crate) quorum: usize,
    /// Whether everybody passes on at once what is proposed and certified.
    pub(crate) relays: bool,
    /// From taking a proposal to voting for it, in microseconds.
    pub(crate) vote_wait_us: u64,
    /// One wait for a disk, in microseconds: before a proposal, before each of the votes, and for the block.
    pub(crate) disk_us: u64,
}

impl Hops<'_> {
    fn delay(&self, from: usize, to: usize) -> u64 {
        self.delays.get(from).and_then(|row| row.get(to)).copied().unwrap_or(0)
    }

    /// When each node has what one of them has sent to all at this time.
    fn sent(&self, from: usize, at_us: u64) -> Vec<u64> {
        let mut at = vec![u64::MAX; self.delays.len()];
        for to in self.up {
            if let Some(place) = at.get_mut(*to) {
                *place = at_us.saturating_add(self.delay(from, *to));
            }
        }
        self.spread(at)
    }

    /// When each node has what these have at these times, if everybody passes it on.
    fn spread(&self, mut at: Vec<u64>) -> Vec<u64> {
        if !self.relays {
            return at;
        }
        loop {
            let before = at.clone();
            for to in self.up {
                let soonest =
                    self.up.iter().map(|from| of(&before, *from).saturating_add(self.delay(*from, *to))).min();
                if let (Some(place), Some(soonest)) = (at.get_mut(*to), soonest) {
                    *place = soonest.min(*place);
                }
            }
            if at == before {
                return at;
            }
        }
    }

    /// When each node has a quorum of votes, its own at once, the others' after a wait for their disk; or a certificate that another passes on.
    fn certificate(&self, voted: &[u64]) -> Vec<u64> {
        let mut at = vec![u64::MAX; self.delays.len()];
        for to in self.up {
            let arrives = |from: &usize| {
                let own = from == to;
                of(voted, *from).saturating_add(if own { 0 } else { self.disk_us + self.delay(*from, *to) })
            };
            let mut votes: Vec<u64> = self.up.iter().map(arrives).collect();
            votes.sort_unstable();
            if let (Some(place), Some(last)) = (at.get_mut(*to), votes.get(self.quorum.saturating_sub(1))) {
                *place = *last;
            }
        }
        self.spread(at)
    }

    /// From submission at one node until this node has the block, made by `leader`.
    pub(crate) fn to_final_us(&self, submitter: usize, leader: usize) -> u64 {
        let mut prepared = self.sent(leader, self.delay(submitter, leader) + self.disk_us);
        for at in &mut prepared {
            *at = at.saturating_add(self.vote_wait_us);
        }
        let locked = self.certificate(&prepared);
        let decided = self.certificate(&locked);
        of(&decided, submitter).saturating_add(self.disk_us)
    }
}

fn of(at: &[u64], node: usize) -> u64 {
    at.get(node).copied().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(delays: &[Vec<u64>], quorum: usize) -> Hops<'_> {
        Hops { delays, up: &[0, 1, 2, 3], quorum, relays: true, vote_wait_us: 0, disk_us: 0 }
    }

    /// Proposal, prepare, commit; a quorum of two has the leader's vote with the proposal.
    #[test]
    fn equal_delays_are_counted() {
        let delays: Vec<Vec<u64>> =
            (0..4).map(|from| (0..4).map(|to| if from == to { 0 } else { 10 }).collect()).collect();
        let of_four = hops(&delays, 3);
        assert_eq!((of_four.to_final_us(0, 0), of_four.to_final_us(1, 0)), (30, 40));
        assert_eq!(hops(&delays, 2).to_final_us(0, 0), 20);
        let slow = Hops { vote_wait_us: 400, disk_us: 5, ..hops(&delays, 3) };
        assert_eq!(slow.to_final_us(1, 0), 40 + 400 + 4 * 5);
        let without = Hops { up: &[0, 1, 2], ..hops(&delays, 3) };
        assert_eq!(without.to_final_us(0, 0), 30);
    }

    /// What is passed on may be sooner than what comes straight.
    #[test]
    fn a_far_node_hears_from_a_near_one() {
        let mut delays = vec![vec![10; 4]; 4];
        for (node, row) in delays.iter_mut().enumerate() {
            row[node] = 0;
        }
        delays[0][3] = 100;
        // Proposed to the far one over another: 20; all votes at the near ones: 30, at the far one over another: 40; its vote: 50.
        assert_eq!(hops(&delays, 4).to_final_us(0, 0), 50);
        // Nobody passes on: it votes at 100, all have its vote at 110, and their second ones at 120.
        assert_eq!(Hops { relays: false, ..hops(&delays, 4) }.to_final_us(0, 0), 120);
    }
}
