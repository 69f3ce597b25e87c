//! Timeouts: a round that takes too long is given up by a quorum, and the next begins.

use quorate::{PeerId, Round, ValidatorIndex};

use super::{
    Engine, Fault, fault,
    state::{Asked, StoredTimeout, came},
};
use crate::{
    certificate::{QuorumCertificate, TimeoutCertificate, TimeoutEntry},
    message::{NewRound, Timeout},
    planted::PlantedBug,
    signing::{STEP_TIMEOUT, timeout_request},
};

impl Engine {
    /// Gives the round up when its time is over; says so again whenever the lock has risen or the time is over again.
    pub(super) fn try_timeout(&mut self) {
        if came(&mut self.deadlines.round, self.now) {
            let round = self.at.round;
            self.deadlines.round = Some(self.now.after(self.rules.round_timeout(round)));
            self.at.current.timed_out = true;
            match self.at.own.get(&STEP_TIMEOUT).filter(|(of, _)| *of == round) {
                Some((_, message)) => self.out.push(quorate::consensus::Action::Broadcast(message.clone())),
                // Never asked for, or refused: ask again.
                None => self.at.current.timeout_asked = None,
            }
        }
        let current = &self.at.current;
        let high = self.at.high_round();
        let rigid = self.has(PlantedBug::RigidTimeout);
        if !current.timed_out || current.timeout_asked.is_some_and(|asked| asked == high || rigid) {
            return;
        }
        let mut request = timeout_request(self.height(), self.at.round, self.at.high());
        if rigid {
            request.guard.sub = 0;
        }
        self.at.current.timeout_asked = Some(high);
        let high_qc = self.at.high_qc.clone();
        self.ask(request, Asked::Timeout { high_qc });
    }

    pub(super) fn on_timeout(&mut self, from: PeerId, timeout: Timeout) -> Result<(), Fault> {
        let (round, validator) = (timeout.round, timeout.validator);
        if !self.at.keeps(round) {
            return Ok(());
        }
        let high = timeout.high_qc.as_ref().map(|qc| (qc.round, qc.block_hash));
        if high.is_some_and(|(of, _)| of > round) {
            return Err(format!("timeout of round {round} names a certificate of a later round"));
        }
        let known = self.at.timeouts.get(&(round, validator));
        if known.is_some_and(|known| known.high() >= high) {
            return Ok(());
        }
        let message = timeout_request(timeout.height, round, high).sign_bytes(&self.chain_id);
        self.judge().signature(validator, message, timeout.signature).map_err(|error| fault("timeout", &error))?;
        if let Some(qc) = &timeout.high_qc
            && self.check_prepare(qc)?
        {
            self.learn(&[qc], None);
        } else if let Some(qc) = &timeout.high_qc {
            // Not above the lock: it is carried in a timeout certificate all the same, so it must be good.
            self.judge().quorum_certificate(qc).map_err(|error| fault("timeout's certificate", &error))?;
        }
        if round < self.at.round {
            let stored = StoredTimeout { high_qc: timeout.high_qc, signature: timeout.signature };
            self.look_for_hidden_lock_in_votes(round, validator, &stored);
            self.answer_round(from);
            return Ok(());
        }
        self.wake();
        self.record_timeout(timeout);
        Ok(())
    }

    /// Notes a good timeout, and makes a certificate when it completes a quorum.
    pub(super) fn record_timeout(&mut self, timeout: Timeout) {
        let Timeout { round, validator, high_qc, signature, .. } = timeout;
        let stored = StoredTimeout { high_qc, signature };
        self.look_for_hidden_lock_in_votes(round, validator, &stored);
        self.at.timeouts.insert((round, validator), stored);
        if round < self.at.round {
            return;
        }
        if let Some(tc) = self.timeout_certificate(round) {
            let high = tc.high_qc.clone();
            self.learn(high.as_ref().as_slice(), Some(tc));
        }
    }

    fn timeout_certificate(&self, round: Round) -> Option<TimeoutCertificate> {
        let range = (round, ValidatorIndex(0))..=(round, ValidatorIndex(u16::MAX));
        let quorum = self.quorum();
        let signed: Vec<_> = self.at.timeouts.range(range).take(quorum).collect();
        if signed.len() < quorum {
            return None;
        }
        let highest = signed.iter().filter_map(|(_, timeout)| timeout.high_qc.as_ref());
        let high_qc: Option<QuorumCertificate> = highest.max_by_key(|qc| (qc.round, qc.block_hash)).cloned();
        let entries = signed.iter().map(|((_, validator), timeout)| TimeoutEntry {
            validator: *validator,
            high: timeout.high(),
            signature: timeout.signature,
        });
        Some(TimeoutCertificate { height: self.height(), round, entries: entries.collect(), high_qc })
    }

    /// Where a peer stands, with proofs: they may bring this node forward, or call for its own.
    pub(super) fn on_new_round(&mut self, from: PeerId, status: NewRound) -> Result<(), Fault> {
        let by_tc = status.timeout.as_ref().map(|tc| tc.round.next());
        let by_qc = status.high_qc.as_ref().map(|qc| qc.round);
        let theirs = by_tc.max(by_qc).unwrap_or_default();
        let entry = match status.timeout {
            Some(tc) if tc.height != status.height => return Err("timeout certificate of another height".into()),
            Some(tc) if tc.round.next() > self.at.round => {
                self.judge().timeout_certificate(&tc).map_err(|error| fault("timeout certificate", &error))?;
                Some(tc)
            }
            _ => None,
        };
        let mut certificates = Vec::new();
        if let Some(qc) = status.high_qc
            && self.check_prepare(&qc)?
        {
            certificates.push(qc);
        }
        certificates.extend(entry.as_ref().and_then(|tc| tc.high_qc.clone()));
        let certificates: Vec<&QuorumCertificate> = certificates.iter().collect();
        self.learn(&certificates, entry);
        let behind = (theirs, by_qc) < (self.at.round, self.at.high_round());
        if behind {
            self.answer_round(from);
        }
        Ok(())
    }
}
