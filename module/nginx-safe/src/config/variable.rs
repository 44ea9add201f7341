use core::ptr;

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_HTTP_VAR_NOHASH, NGX_HTTP_VAR_PREFIX, NGX_OK,
    ngx_conf_t, ngx_hash_key_t, ngx_http_add_variable, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_get_variable_pt, ngx_http_request_t, ngx_http_variable_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};
use ngx::http::HttpModuleConfExt;

use crate::config::module::HttpModule;
use crate::config::parse::{Conf, ConfResult};
use crate::guard;
use crate::request::handle::Request;
use crate::text::{bytes_of, copy_into};

/// The value of a variable.
pub enum Value {
    /// Nginx writes `-` to logs.
    Missing,
    /// A fixed text.
    Text(&'static str),
    /// A number, written in decimal.
    Number(u64),
    /// Bytes made for this request.
    Bytes(Vec<u8>),
}

/// A variable: its name, and what it says of a request.
pub struct Variable {
    /// Its name, without the dollar sign.
    pub name: &'static str,
    /// Reads its value.
    pub read: fn(Request<'_>) -> Value,
}

/// Variables whose names begin alike.
pub struct Variables {
    /// How all names begin.
    pub prefix: &'static str,
    /// All of them.
    pub all: &'static [Variable],
}

/// Declares variables; they are read anew each time, as leases come and go.
///
/// They are not in nginx's hash of variables, whose default size has no room for that many
/// beside those of other modules. A configuration names a variable by its index, for which
/// no hash is needed. What looks variables up by their names while requests run (SSI, Lua,
/// njs) finds them by the prefix.
pub(crate) fn declare<M: HttpModule>(conf: &Conf) -> ConfResult {
    for variable in M::VARIABLES.all {
        let data = ptr::from_ref(variable).expose_provenance();
        add(conf, variable.name, NGX_HTTP_VAR_NOHASH, get_entry, data)?;
    }
    let prefix = M::VARIABLES.prefix;
    add(conf, prefix, NGX_HTTP_VAR_PREFIX, get_by_name::<M>, 0)
}

type Getter = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

fn add(conf: &Conf, name: &'static str, flag: u32, getter: Getter, data: usize) -> ConfResult {
    // SAFETY: called from preconfiguration; nginx copies the name. What `data` points at, if
    // the getter uses it, is static.
    unsafe {
        let cf: *mut ngx_conf_t = conf.0;
        let mut text = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        let flags = NGX_HTTP_VAR_NOCACHEABLE | flag;
        let added = ngx_http_add_variable(cf, &raw mut text, flags as usize);
        let Some(added) = added.as_mut() else {
            return Err(format!("variable ${name} is taken"));
        };
        let getter: ngx_http_get_variable_pt = Some(getter);
        added.get_handler = getter;
        added.data = data;
    }
    Ok(())
}

/// Refuses names that the configuration uses and nobody has declared: nginx would take any
/// name with our prefix for one of ours.
pub(crate) fn check<M: HttpModule>(conf: &Conf) -> ConfResult {
    // SAFETY: called from postconfiguration, where the core module's main configuration has
    // the variables that are used, and the keys of those that are declared.
    unsafe {
        let cf: *mut ngx_conf_t = conf.0;
        let module = &raw const ngx_http_core_module;
        let core = (*cf)
            .http_main_conf_unchecked::<ngx_http_core_main_conf_t>(&*module)
            .ok_or("no http core module")?;
        let core = core.as_ptr();
        let declared = (*(*core).variables_keys).keys.as_slice::<ngx_hash_key_t>();
        for used in (*core).variables.as_slice::<ngx_http_variable_t>() {
            let name = bytes_of(&used.name);
            let ours = name.starts_with(M::VARIABLES.prefix.as_bytes());
            if ours && !declared.iter().any(|key| bytes_of(&key.key) == name) {
                let name = String::from_utf8_lossy(name);
                return Err(format!("unknown \"{name}\" variable"));
            }
        }
    }
    Ok(())
}

/// Reads the variable whose name `data` points at: that is what nginx passes for a prefix.
unsafe extern "C" fn get_by_name<M: HttpModule>(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the address of the name that has been looked up.
    let name = unsafe { bytes_of(&*ptr::with_exposed_provenance::<ngx_str_t>(data)) };
    let mut all = M::VARIABLES.all.iter();
    match all.find(|variable| variable.name.as_bytes() == name) {
        // SAFETY: a live request, and a value to fill.
        Some(variable) => unsafe {
            get_entry(r, value, ptr::from_ref(variable).expose_provenance())
        },
        None => {
            // SAFETY: as above.
            unsafe { (*value).set_not_found(1) };
            NGX_OK as ngx_int_t
        }
    }
}

unsafe extern "C" fn get_entry(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: `data` is the address of an entry of a static table, set above;
        // nginx passes a live request and a value to fill.
        let (variable, value) = unsafe {
            (
                &*ptr::with_exposed_provenance::<Variable>(data),
                &mut *value,
            )
        };
        // SAFETY: live request.
        let found = (variable.read)(unsafe { Request::borrow(r) });
        let number;
        let bytes: &[u8] = match &found {
            Value::Missing => {
                value.set_not_found(1);
                return NGX_OK as ngx_int_t;
            }
            Value::Text(text) => text.as_bytes(),
            Value::Number(n) => {
                number = itoa::Buffer::new().format(*n).to_owned();
                number.as_bytes()
            }
            Value::Bytes(bytes) => bytes,
        };
        // SAFETY: the request's pool outlives the value.
        let Some(text) = (unsafe { copy_into((*r).pool, bytes) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        value.set_len(text.len as u32);
        value.set_valid(1);
        value.set_no_cacheable(1);
        value.set_not_found(0);
        value.data = text.data;
        NGX_OK as ngx_int_t
    })
}
