pub(crate) mod lookup;
pub(crate) mod peer;
pub(crate) mod timer;
pub(crate) mod tls;
