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
pub enum VariableValue {
    /// No value: nginx writes `-` to logs.
    Missing,
    /// A fixed text.
    Text(&'static str),
    /// A number, written in decimal.
    Number(u64),
    /// Bytes; they are copied into the pool of the request.
    Bytes(Vec<u8>),
}

/// A variable and the function that computes its value.
pub struct Variable {
    /// Its name, without the dollar sign.
    pub name: &'static str,
    /// Computes its value for a request.
    pub read: fn(Request<'_>) -> VariableValue,
}

/// Variables with a common prefix.
pub struct Variables {
    /// The prefix of all names.
    pub prefix: &'static str,
    /// The variables.
    pub all: &'static [Variable],
}

/// Declares the module's variables. They are not cacheable, because their values change during a
/// request.
///
/// They are left out of nginx's hash of variables, whose default size is too small for them in
/// addition to those of other modules. A configuration refers to a variable by its index, which
/// needs no hash. Code that looks up variables by name at run time (SSI, Lua, njs) finds them by
/// the prefix.
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
    // SAFETY: the caller is preconfiguration: ngx_http_variables_add_core_vars has made the tables
    // that ngx_http_add_variable adds to (Configuration). nginx copies the name, and returns null
    // or an entry that lives as long as the configuration. `data` is 0 or the address of a static
    // `Variable`.
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

/// Rejects variables that the configuration uses but no module declares. Without this check, nginx
/// would accept any name with the module's prefix.
///
/// # Safety
/// Only in postconfiguration.
pub(crate) unsafe fn check<M: HttpModule>(conf: &Conf) -> ConfResult {
    // SAFETY: the caller is postconfiguration: nginx frees `variables_keys` with cf->temp_pool
    // after it has read the configuration, and both arrays have elements of these types
    // (Configuration, Lists).
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

/// Reads a variable by its name. For a prefix variable, nginx passes the address of the name.
unsafe extern "C" fn get_by_name<M: HttpModule>(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: for a prefix variable, nginx passes the address of the name that was looked up:
    // ngx_http_get_variable that of its argument, ngx_http_variables_init_vars that of an entry in
    // the pool of the configuration.
    let name = unsafe { bytes_of(&*ptr::with_exposed_provenance::<ngx_str_t>(data)) };
    let mut all = M::VARIABLES.all.iter();
    match all.find(|variable| variable.name.as_bytes() == name) {
        // SAFETY: nginx calls get_handler with a live request and a value to fill (Call); `data` is
        // the address of a static `Variable`.
        Some(variable) => unsafe {
            get_entry(r, value, ptr::from_ref(variable).expose_provenance())
        },
        None => {
            // SAFETY: nginx calls get_handler with a value to fill, in the pool of the request
            // (Call).
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
        // SAFETY: `data` is the address of an entry of a static table: `add` has set it, and nginx
        // passes it unchanged (ngx_http_get_indexed_variable), or `get_by_name` passes it.
        let variable = unsafe { &*ptr::with_exposed_provenance::<Variable>(data) };
        // SAFETY: nginx calls get_handler with a live request (Call).
        let found = (variable.read)(unsafe { Request::borrow(r) });
        let number;
        let bytes: &[u8] = match &found {
            VariableValue::Missing => {
                // SAFETY: nginx calls get_handler with a value to fill, in the pool of the request
                // (Call).
                unsafe { (*value).set_not_found(1) };
                return NGX_OK as ngx_int_t;
            }
            VariableValue::Text(text) => text.as_bytes(),
            VariableValue::Number(n) => {
                number = itoa::Buffer::new().format(*n).to_owned();
                number.as_bytes()
            }
            VariableValue::Bytes(bytes) => bytes,
        };
        // SAFETY: nginx calls get_handler with a live request (Call). It keeps values no longer
        // than the pool of the request (Request).
        let Some(text) = (unsafe { copy_into((*r).pool, bytes) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: nginx calls get_handler with a value to fill, in the pool of the request (Call).
        unsafe {
            (*value).set_len(text.len as u32);
            (*value).set_valid(1);
            (*value).set_no_cacheable(1);
            (*value).set_not_found(0);
            (*value).data = text.data;
        }
        NGX_OK as ngx_int_t
    })
}
