//! The registry, configuration, signer, pool, catch-up and loop of a Quorate node; it names no plugin.
