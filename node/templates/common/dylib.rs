//! The plugin `my-plugin` as a shared library, of the same crate that a node could link in.

quorate_abi::export!(kind: my_plugin::MyPlugin);
