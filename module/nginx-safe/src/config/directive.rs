use core::ffi::{CStr, c_char, c_void};

use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::ffi::{
    NGX_CONF_1MORE, NGX_CONF_BLOCK, NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_SRV_CONF, ngx_command_t, ngx_conf_t, ngx_str_t, ngx_uint_t,
};

use crate::config::parse::{Conf, ConfResult};
use crate::config::tagged;
use crate::guard;

/// Where a directive may stand.
#[derive(Clone, Copy)]
pub enum Scope {
    /// In `http` only.
    Http,
    /// In `http`, `server` and `location`.
    Everywhere,
    /// In `location` only.
    Location,
}

/// What a directive takes.
#[derive(Clone, Copy)]
pub enum Args {
    /// Nothing.
    None,
    /// `on` or `off`.
    Flag,
    /// One argument.
    One,
    /// Two arguments.
    Two,
    /// One argument or more.
    Many,
    /// A block without a name.
    Block,
    /// A block with a name.
    NamedBlock,
}

/// A directive: what it is called, where it stands, and what it does to the
/// configuration of its level.
pub trait Directive: 'static {
    /// The configuration it writes to: [`Scope::Http`] directives get the main
    /// one, the others that of their location.
    type Target: 'static;
    /// Its name.
    const NAME: &'static CStr;
    /// Where it may stand.
    const SCOPE: Scope;
    /// How many arguments it takes.
    const ARGS: Args;

    /// Reads it. `Err(Some(..))` is said to the operator after the directive's
    /// name; `Err(None)` when the reason has been said already.
    fn read(conf: &mut Conf, target: &mut Self::Target) -> Result<(), Option<String>>;
}

/// A module's directives, closed by [`end`].
pub type Commands<const N: usize> = [ngx_command_t; N];

/// The entry of a directive in the module's table.
pub const fn command<D: Directive>() -> ngx_command_t {
    let name = D::NAME.to_bytes();
    let (place, conf) = match D::SCOPE {
        Scope::Http => (NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET),
        Scope::Location => (NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET),
        Scope::Everywhere => (
            NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF,
            NGX_HTTP_LOC_CONF_OFFSET,
        ),
    };
    let args = match D::ARGS {
        Args::None => NGX_CONF_NOARGS,
        Args::Flag => NGX_CONF_FLAG,
        Args::One => NGX_CONF_TAKE1,
        Args::Two => NGX_CONF_TAKE2,
        Args::Many => NGX_CONF_1MORE,
        Args::Block => NGX_CONF_BLOCK | NGX_CONF_NOARGS,
        Args::NamedBlock => NGX_CONF_BLOCK | NGX_CONF_TAKE1,
    };
    ngx_command_t {
        name: ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        },
        type_: (place | args) as ngx_uint_t,
        set: Some(set_entry::<D>),
        conf,
        offset: 0,
        post: core::ptr::null_mut(),
    }
}

/// The end of a table of directives.
pub const fn end() -> ngx_command_t {
    ngx_command_t::empty()
}

unsafe extern "C" fn set_entry<D: Directive>(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    target: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let mut conf = Conf(cf);
        // SAFETY: `target` is what our create_main_conf or create_loc_conf made,
        // by the offset in the directive's entry; nobody else refers to it while
        // nginx reads the configuration.
        let target = unsafe { tagged::find::<D::Target>(target).map(|mut found| found.as_mut()) };
        let read = match target {
            Some(target) => D::read(&mut conf, target),
            None => Err(Some("stands where it has no configuration".into())),
        };
        match read {
            Ok(()) => NGX_CONF_OK,
            Err(reason) => {
                if let Some(reason) = reason {
                    conf.reject(&format!("{}: {reason}", D::NAME.to_string_lossy()));
                }
                NGX_CONF_ERROR
            }
        }
    })
}

/// The argument of a [`Args::Flag`] or [`Args::One`] directive.
pub fn argument(conf: &Conf) -> ConfResult<String> {
    conf.words()?
        .get(1)
        .map(ToString::to_string)
        .ok_or_else(|| "an argument is missing".into())
}
