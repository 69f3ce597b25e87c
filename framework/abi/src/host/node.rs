//! What a library may call in the node: the log, SHA-256, and Ed25519.
#![expect(unsafe_code, reason = "functions which a library calls with pointers")]

use std::ffi::c_void;

use quorate::{
    Hash, PublicKey, Signature,
    signature::{Memo, Signed},
};
use tracing::level_filters::LevelFilter;

use crate::{
    ffi,
    raw::{QuorateBytes, QuorateHost},
};

/// Bytes of a logged message at most; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// Bytes of a name or place in the log at most.
const NAME_BYTES_MAX: usize = 256;

/// The functions for one library, named `file` in the log. They live as long as the process, as the library does.
pub(super) fn functions(file: &str) -> &'static QuorateHost {
    let context: &'static str = Box::leak(file.to_owned().into_boxed_str());
    let context: &'static &'static str = Box::leak(Box::new(context));
    let log_max = match LevelFilter::current() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        LevelFilter::TRACE => 5,
    };
    Box::leak(Box::new(QuorateHost {
        size: size_of::<QuorateHost>() as u32,
        log_max,
        context: std::ptr::from_ref(context).cast_mut().cast(),
        log: Some(log),
        sha256: Some(sha256),
        verify: Some(verify),
        knows: Some(knows),
    }))
}

fn text(bytes: &[u8], max: usize) -> String {
    String::from_utf8_lossy(bytes.get(..max).unwrap_or(bytes)).into_owned()
}

unsafe extern "C" fn log(
    context: *mut c_void,
    level: u32,
    plugin: QuorateBytes,
    place: QuorateBytes,
    message: QuorateBytes,
) {
    // SAFETY: the library promises to pass the context that it was given, which is a `&'static str` that lives for good.
    let Some(library) = (unsafe { context.cast::<&'static str>().as_ref() }) else { return };
    // SAFETY: the library promises that the bytes are valid during the call.
    let plugin = text(unsafe { plugin.as_slice() }, NAME_BYTES_MAX);
    // SAFETY: as above.
    let place = text(unsafe { place.as_slice() }, NAME_BYTES_MAX);
    // SAFETY: as above.
    let message = text(unsafe { message.as_slice() }, MESSAGE_BYTES_MAX);
    match level {
        1 => tracing::error!(target: "plugin", plugin, place, library, "{message}"),
        2 => tracing::warn!(target: "plugin", plugin, place, library, "{message}"),
        3 => tracing::info!(target: "plugin", plugin, place, library, "{message}"),
        4 => tracing::debug!(target: "plugin", plugin, place, library, "{message}"),
        _ => tracing::trace!(target: "plugin", plugin, place, library, "{message}"),
    }
}

unsafe extern "C" fn sha256(bytes: QuorateBytes, digest: *mut u8) {
    // SAFETY: the library promises that the bytes are valid during the call.
    let hash = Hash::of(&[unsafe { bytes.as_slice() }]);
    if !digest.is_null() {
        // SAFETY: not null, and the library promises room for 32 bytes.
        unsafe { digest.cast::<[u8; 32]>().write_unaligned(*hash.as_bytes()) }
    }
}

/// # Safety
///
/// `key` has 32 bytes, `signature` 64, and all are valid as long as what is returned.
unsafe fn signed<'a>(key: *const u8, message: &'a QuorateBytes, signature: *const u8) -> Option<Signed<'a>> {
    // SAFETY: as the caller promises.
    let key = PublicKey::new(unsafe { ffi::digest(key) });
    // SAFETY: as the caller promises.
    let signature = <[u8; 64]>::try_from(unsafe { ffi::list(signature, 64) }).ok()?;
    // SAFETY: as the caller promises.
    let message = unsafe { message.as_slice() };
    Some(Signed { key, message, signature: Signature::new(signature) })
}

unsafe extern "C" fn verify(key: *const u8, message: QuorateBytes, signature: *const u8) -> i32 {
    // SAFETY: the library promises 32 bytes, 64 bytes, and that all are valid during the call.
    let signed = unsafe { signed(key, &message, signature) };
    i32::from(signed.is_some_and(|item| item.key.verifies(item.message, &item.signature)))
}

unsafe extern "C" fn knows(key: *const u8, message: QuorateBytes, signature: *const u8) -> i32 {
    // SAFETY: as in `verify`.
    let signed = unsafe { signed(key, &message, signature) };
    i32::from(signed.is_some_and(|item| Memo::remembers(&item)))
}
