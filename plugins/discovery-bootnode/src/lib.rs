//! Discovery: signed records at a bootnode, static peers, and the registry service.
