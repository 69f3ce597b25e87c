//! Ballots with proofs that forgers compute: simulated, for a challenge that binds too little, or wrong in ways that cancel.

use curve25519_dalek::ristretto::RistrettoPoint;
use quorate_ballot::{
    ballot::{Ballot, BallotError},
    batch,
    group::{Element, Scalar, decode_scalar},
    random::{Draw as _, SystemDraw},
    transcript::{Tag, hs},
};

use crate::attacks::{Voter, resigned, voter};

/// Where the first ciphertext and the proof of a ballot's only option stand: version, eid, index, K; contests, options.
const ALPHA: usize = 1 + 32 + 4 + 32 + 2 + 2;
const BETA: usize = ALPHA + 32;
const PROOF: usize = BETA + 32;
const SIGNATURE_BYTES: usize = 64;

const FIRST: BallotError = BallotError::BitProof { contest: 0, option: 0 };

fn scalar() -> Scalar {
    SystemDraw.scalar().unwrap()
}

fn base(scalar: Scalar) -> RistrettoPoint {
    RistrettoPoint::mul_base(&scalar)
}

/// An option with a proof of 0 or 1 that a forger made.
struct Forged {
    alpha: RistrettoPoint,
    beta: RistrettoPoint,
    /// A and B of each branch.
    commitments: [(RistrettoPoint, RistrettoPoint); 2],
    c: [Scalar; 2],
    z: [Scalar; 2],
}

fn encoded(point: &RistrettoPoint) -> [u8; 32] {
    *Element::from_point(*point).unwrap().as_bytes()
}

impl Forged {
    /// Whether every branch's equations hold, for the challenges that the forger chose.
    fn holds(&self, y: &RistrettoPoint) -> bool {
        [0u8, 1].iter().zip(self.commitments).zip(self.c.iter().zip(self.z)).all(|((v, (a, b)), (c, z))| {
            base(z) == a + self.alpha * c && y * z == b + (self.beta - base(Scalar::from(*v))) * c
        })
    }

    /// The voter's ballot with this option in the place of its own, signed.
    fn ballot(&self, voter: &Voter) -> Vec<u8> {
        let good = voter.cast(&[vec![true]]);
        let mut body = good[..good.len() - SIGNATURE_BYTES].to_vec();
        let [(a0, b0), (a1, b1)] = self.commitments;
        let points = [&self.alpha, &self.beta, &a0, &b0, &a1, &b1].map(encoded);
        let scalars = [self.c[0], self.z[0], self.z[1]].map(|one| one.to_bytes());
        let bytes = [points.concat(), scalars.concat()].concat();
        body[ALPHA..ALPHA + bytes.len()].copy_from_slice(&bytes);
        resigned(voter, &body)
    }
}

#[test]
fn a_simulated_proof_of_another_vote_is_refused() {
    let voter = voter(&[(1, 0, 1)]);
    let y = voter.election.y.point();
    for m in [Scalar::from(2u8), -Scalar::ONE, Scalar::from(1000u16)] {
        let r = scalar();
        let (alpha, beta) = (base(r), y * r + base(m));
        let (c, z) = ([scalar(), scalar()], [scalar(), scalar()]);
        let simulate = |v: usize| (base(z[v]) - alpha * c[v], y * z[v] - (beta - base(Scalar::from(v as u8))) * c[v]);
        let forged = Forged { alpha, beta, commitments: [simulate(0), simulate(1)], c, z };
        assert!(forged.holds(y), "it is what is forged");
        assert_eq!(voter.verify(&forged.ballot(&voter)), Err(FIRST));
    }
}

/// Bernhard, Pereira and Warinschi (2012): when the challenge does not bind the ciphertext, the ciphertext is chosen after it, and holds a
/// vote of the forger's making.
#[test]
fn a_proof_whose_challenge_does_not_bind_the_ciphertext_is_refused() {
    let voter = voter(&[(1, 0, 1)]);
    let (y, key) = (voter.election.y, voter.key.public());
    let [a0, a1, d, r] = [0; 4].map(|_| scalar());
    let commitments = [(base(a0), y.point() * a0 + base(d)), (base(a1), y.point() * a1)];
    let points = commitments.map(|(a, b)| [encoded(&a), encoded(&b)]).concat();
    let (contest, option) = (0u32.to_be_bytes(), 0u32.to_be_bytes());
    let mut weak: Vec<&[u8]> = vec![&voter.election.eid, &contest, &option, key.as_bytes(), y.as_bytes()];
    weak.extend(points.iter().map(|point| point.as_slice()));
    let c = hs(Tag::BitProof, &weak);
    let m = -d * c.invert();
    let (alpha, beta) = (base(r), y.point() * r + base(m));
    let forged = Forged { alpha, beta, commitments, c: [c, Scalar::ZERO], z: [a0 + c * r, a1] };
    assert!(forged.holds(y.point()), "it is what is forged");
    assert!(m != Scalar::ZERO && m != Scalar::ONE);
    assert_eq!(voter.verify(&forged.ballot(&voter)), Err(FIRST));
}

#[test]
fn options_exchanged_with_their_proofs_are_refused() {
    let voter = voter(&[(2, 1, 1)]);
    let good = voter.cast(&[vec![true, false]]);
    let mut body = good[..good.len() - SIGNATURE_BYTES].to_vec();
    let (pair, proof) = (64, 7 * 32);
    let mut exchange = |at: usize, len: usize| {
        let (first, second) = body[at..at + 2 * len].split_at_mut(len);
        first.swap_with_slice(second);
    };
    exchange(ALPHA, pair);
    exchange(ALPHA + 2 * pair, proof);
    assert_eq!(voter.verify(&resigned(&voter, &body)), Err(FIRST));
}

/// Adds to a scalar where it stands.
fn shift(bytes: &mut [u8], at: usize, by: Scalar) {
    let old: [u8; 32] = bytes[at..at + 32].try_into().unwrap();
    bytes[at..at + 32].copy_from_slice((decode_scalar(&old).unwrap() + by).as_bytes());
}

/// Without weights of their own, errors of two equations cancel in the sum, and a batch takes what is wrong.
#[test]
fn errors_that_cancel_are_found_in_a_batch() {
    let voter = voter(&[(1, 0, 1)]);
    let batch = |ballots: [&[u8]; 2]| {
        let ballots = ballots.map(|bytes| Ballot::decode(bytes, &voter.rules).unwrap());
        batch::verify_batch(&voter.election, &voter.rules, &ballots.each_ref())
    };
    let good = [0, 1].map(|_| voter.cast(&[vec![true]]));
    assert_eq!(batch([&good[0], &good[1]]), [Ok(()), Ok(())]);
    let shifts = [Scalar::ONE, -Scalar::ONE];

    let mut signatures = good.clone();
    signatures.iter_mut().zip(shifts).for_each(|(bytes, by)| shift(bytes, good[0].len() - 32, by));
    assert_eq!(batch([&signatures[0], &signatures[1]]), [Err(BallotError::Signature), Err(BallotError::Signature)]);

    let (z0, z1) = (PROOF + 5 * 32, PROOF + 6 * 32);
    let proofs = [0, 1].map(|at: usize| {
        let mut body = good[at][..good[at].len() - SIGNATURE_BYTES].to_vec();
        shift(&mut body, z0, shifts[at]);
        resigned(&voter, &body)
    });
    assert_eq!(batch([&proofs[0], &proofs[1]]), [Err(FIRST), Err(FIRST)]);

    // Within one ballot, between the branches of one proof.
    let mut body = good[0][..good[0].len() - SIGNATURE_BYTES].to_vec();
    shift(&mut body, z0, shifts[0]);
    shift(&mut body, z1, shifts[1]);
    assert_eq!(batch([&resigned(&voter, &body), &good[1]]), [Err(FIRST), Ok(())]);
}
