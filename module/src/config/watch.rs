//! `openai_key_watch`: key files that are read anew when they change.

use std::ffi::CStr;
use std::sync::Arc;

use nginx_safe::{Args, Conf, ConfResult, Directive, Scope, argument};

use super::keys::Sources;
use super::{Main, source, values};

const DEFAULT_MS: u64 = 2_000;
const LEAST_MS: u64 = 100;
const MOST_MS: u64 = 86_400_000;

/// `None` inside: off.
#[derive(Default)]
pub struct Interval(Option<Option<u64>>);

pub struct KeyWatch;

impl Directive for KeyWatch {
    type Target = Main;
    const NAME: &'static CStr = c"openai_key_watch";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::One;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let said = interval(&argument(conf)?);
        values::once(&mut main.key_watch.0, said).map_err(Some)
    }
}

fn interval(value: &str) -> ConfResult<Option<u64>> {
    if value == "off" {
        return Ok(None);
    }
    match values::time_ms(value) {
        Ok(ms @ LEAST_MS..=MOST_MS) => Ok(Some(ms)),
        _ => Err(format!(
            "invalid value \"{value}\", it must be \"off\", or from 100ms to 1d"
        )),
    }
}

impl Main {
    /// How often key files are looked at.
    pub fn key_watch_ms(&self) -> Option<u64> {
        self.key_watch.0.unwrap_or(Some(DEFAULT_MS))
    }

    /// Notes where keys come from, if any of them can change.
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
