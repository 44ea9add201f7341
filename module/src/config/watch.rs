//! `openai_key_watch`: reads key files again when they change.

use std::sync::Arc;

use nginx_safe::Conf;

use super::keys::Sources;
use super::{Main, source};

impl Main {
    /// Interval for checking key files, in milliseconds; `None` if they are not watched.
    pub fn key_watch_ms(&self) -> Option<u64> {
        self.key_watch.unwrap_or(Some(2_000))
    }

    /// Stores the sources of keys, if they are watched and any of them can change.
    pub(super) fn watch_keys(&mut self, conf: &Conf) {
        let pools = self.pools.iter_mut();
        let pools = pools.map(|pool| (pool.name.clone(), std::mem::take(&mut pool.sources)));
        let mut sources = Sources {
            pools: pools.collect(),
            secret: Default::default(),
        };
        if self.key_watch_ms().is_some() && sources.files().next().is_some() {
            sources.secret = source::secret(conf);
            self.sources = Some(Arc::new(sources));
        }
    }
}
