//! `openai_zone`: the shared memory that leases live in.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, Directive, Scope, argument};
use openai_core::lease::Capacity;

use super::{Main, values};

const DEFAULT_NAME: &str = "openai";
const DEFAULT_SIZE: usize = 8 << 20;
/// nginx's slab allocator takes some pages for itself.
const SLAB_PAGES: usize = 8 * 4096;

/// The zone's name and size, if the configuration gives them.
#[derive(Default)]
pub struct Declared(Option<(String, usize)>);

impl Declared {
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or(DEFAULT_NAME, |(name, _)| name)
    }

    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(DEFAULT_SIZE, |&(_, size)| size)
    }
}

pub struct ZoneSize;

impl Directive for ZoneSize {
    type Target = Main;
    const NAME: &'static CStr = c"openai_zone";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::One;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let value = argument(conf)?;
        if main.zone.0.is_some() {
            return Err(Some(format!("\"{value}\" is a duplicate")));
        }
        let invalid = || format!("invalid value \"{value}\", it must be NAME:SIZE");
        let (name, size) = value.split_once(':').ok_or_else(invalid)?;
        let size = values::size(size).map_err(|_| invalid())?;
        if name.is_empty() {
            return Err(Some(invalid()));
        }
        let least = Capacity::bytes_for(1, 1, 1).next_multiple_of(4096) + SLAB_PAGES;
        if size < least {
            return Err(Some(format!(
                "\"{value}\" is too small, it needs {least} bytes or more"
            )));
        }
        main.zone.0 = Some((name.to_string(), size));
        Ok(())
    }
}
