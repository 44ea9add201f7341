//! `openai_trace` and `openai_process_time_header`: the ids of requests, and what
//! answers tell of them.

use std::ffi::CStr;

use nginx_safe::{Args, Conf, Directive, Scope, argument};

use super::{Location, values};

/// What a level says of tracing; `None` is inherited.
#[derive(Default)]
pub struct Trace {
    on: Option<bool>,
    process_time: Option<bool>,
}

impl Trace {
    pub fn inherit(&mut self, above: &Self) {
        self.on = self.on.or(above.on);
        self.process_time = self.process_time.or(above.process_time);
    }

    /// Whether requests have ids, which go upstream and back to the client.
    pub fn is_on(&self) -> bool {
        self.on.unwrap_or(false)
    }

    /// Whether answers tell anything of this.
    pub fn tells(&self) -> bool {
        self.is_on() || self.tells_time()
    }

    /// Whether answers tell how long they took.
    pub fn tells_time(&self) -> bool {
        self.process_time.unwrap_or(false)
    }
}

macro_rules! directive {
    ($type:ident, $name:literal, $field:ident) => {
        pub struct $type;
        impl Directive for $type {
            type Target = Location;
            const NAME: &'static CStr = $name;
            const SCOPE: Scope = Scope::Everywhere;
            const ARGS: Args = Args::Flag;
            fn read(conf: &mut Conf, target: &mut Location) -> Result<(), Option<String>> {
                let said = values::flag(&argument(conf)?);
                values::once(&mut target.trace.$field, said).map_err(Some)
            }
        }
    };
}

directive!(TraceOn, c"openai_trace", on);
directive!(
    ProcessTimeHeader,
    c"openai_process_time_header",
    process_time
);
