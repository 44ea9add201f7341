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

/// The contexts in which a directive is allowed.
#[derive(Clone, Copy)]
pub enum Scope {
    /// In `http` only.
    Http,
    /// In `http`, `server` and `location`.
    Everywhere,
    /// In `location` only.
    Location,
}

/// The arguments of a directive.
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

/// A directive: its name, the contexts that allow it, and how it changes the configuration.
pub trait Directive: 'static {
    /// The configuration that the directive changes: the main configuration for [`Scope::Http`],
    /// otherwise that of the location.
    type Settings: 'static;
    /// The name of the directive.
    const NAME: &'static CStr;
    /// The contexts that allow it.
    const SCOPE: Scope;
    /// Its arguments.
    const ARGS: Args;

    /// Reads the directive. `Err(Some(reason))` is logged after the directive's name; `Err(None)`
    /// means that the reason has already been logged.
    fn read(conf: &mut Conf, target: &mut Self::Settings) -> Result<(), Option<String>>;
}

/// The module's table of directives in nginx's format: it ends with an empty entry.
#[repr(C)]
pub struct Directives<const N: usize> {
    all: [DirectiveEntry; N],
    end: DirectiveEntry,
}

impl<const N: usize> Directives<N> {
    /// Creates a table of these directives.
    pub const fn new(all: [DirectiveEntry; N]) -> Self {
        let end = DirectiveEntry(ngx_command_t::empty());
        Self { all, end }
    }

    /// The number of directives.
    pub const fn count(&self) -> usize {
        N
    }
}

/// An entry of the module's table of directives, made by [`directive_entry`].
#[repr(transparent)]
pub struct DirectiveEntry(ngx_command_t);

/// Makes the table entry of a directive.
pub const fn directive_entry<D: Directive>() -> DirectiveEntry {
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
    DirectiveEntry(ngx_command_t {
        name: ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        },
        type_: (place | args) as ngx_uint_t,
        set: Some(set_entry::<D>),
        conf,
        offset: 0,
        post: core::ptr::null_mut(),
    })
}

unsafe extern "C" fn set_entry<D: Directive>(
    cf: *mut ngx_conf_t,
    _command: *mut ngx_command_t,
    target: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        let mut conf = Conf(cf);
        // SAFETY: by the offset in the directive's entry, nginx passes what create_main_conf or
        // create_loc_conf of this module returned, made by `tagged::make`. nginx holds no other
        // reference to it while it reads the configuration (Configuration).
        let target = unsafe { tagged::find::<D::Settings>(target).map(|mut found| found.as_mut()) };
        let read = match target {
            Some(target) => D::read(&mut conf, target),
            None => Err(Some("is not allowed here".into())),
        };
        match read {
            Ok(()) => NGX_CONF_OK,
            Err(reason) => {
                if let Some(reason) = reason {
                    let reason = without_semicolon(&conf).unwrap_or(reason);
                    conf.reject(&format!("{}: {reason}", D::NAME.to_string_lossy()));
                }
                NGX_CONF_ERROR
            }
        }
    })
}

/// The message for a rejected directive if one of its arguments is the name of a directive: the `;`
/// between them is missing.
fn without_semicolon(conf: &Conf) -> Option<String> {
    let words = conf.words().ok()?;
    let next = words.iter().skip(2).find(|word| conf.has_directive(word))?;
    Some(missing_semicolon(next))
}

/// The message that a `;` is missing before the directive `next`.
pub fn missing_semicolon(next: &str) -> String {
    format!("\";\" is missing before \"{next}\"")
}

/// The argument of a [`Args::Flag`] or [`Args::One`] directive.
pub fn argument(conf: &Conf) -> ConfResult<String> {
    conf.words()?
        .get(1)
        .map(ToString::to_string)
        .ok_or_else(|| "an argument is missing".into())
}
