//! Lists of methods: one line a method gives its name, its variant and its place in the metrics.

/// Makes an enum of methods with their names.
macro_rules! methods {
    ($(#[$attribute:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $($variant),+
        }

        impl $name {
            /// Every method's name, in the order of the variants.
            pub(crate) const NAMES: &'static [&'static str] = &[$($text),+];

            /// The method of this name.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use methods;

use super::{ethereum, native};

/// A method of one of the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Quorate's own.
    Native(native::Method),
    /// For existing clients.
    Ethereum(ethereum::Method),
}

impl Method {
    /// How many there are.
    pub(crate) const COUNT: usize = native::Method::NAMES.len() + ethereum::Method::NAMES.len();

    /// The method of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        native::Method::from_name(name)
            .map(Self::Native)
            .or_else(|| ethereum::Method::from_name(name).map(Self::Ethereum))
    }

    /// Its place, below [`Method::COUNT`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Native(method) => method as usize,
            Self::Ethereum(method) => native::Method::NAMES.len() + method as usize,
        }
    }

    /// Every name, at its method's place.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        native::Method::NAMES.iter().chain(ethereum::Method::NAMES).copied()
    }
}
