//! Setting up a plugin: calls with a deadline, and their errors as a bundled plugin would give them.

use std::{sync::Arc, time::Duration};

use quorate::plugin::SetupError;

use super::call::{Fault, Origin, Unanswered, within};
use crate::wire::{self, setup::SetupFailure};

/// The error in the words of the file, as the message around it names the plugin.
pub(super) fn fault(origin: &Origin, fault: &Fault) -> SetupError {
    SetupError::Other(format!("`{}` {fault}", origin.file))
}

/// Makes a call which sets up a plugin.
pub(super) fn set_up<T: Send + 'static>(
    origin: &Arc<Origin>,
    call: &'static str,
    wait: Duration,
    make: impl FnOnce() -> Result<T, Unanswered> + Send + 'static,
) -> Result<T, SetupError> {
    match within(origin, call, wait, make) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(Unanswered::Error(bytes))) => match wire::decode::<SetupFailure>("SetupError", &bytes) {
            Ok(failure) => Err(failure.into()),
            Err(error) => Err(fault(origin, &Fault::wire(call, &error))),
        },
        Ok(Err(Unanswered::Fault(found))) | Err(found) => Err(fault(origin, &found)),
    }
}
