use core::ptr;

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_OK, ngx_conf_t, ngx_http_add_variable,
    ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};

use super::conf::{Conf, ConfResult};
use super::guard;
use super::request::Request;
use super::text::copy_into;

/// The value of a variable.
pub enum Value {
    /// Nginx writes `-` to logs.
    Missing,
    Text(&'static str),
    Number(u64),
    Bytes(Vec<u8>),
}

/// A variable: its name, and what it says of a request.
pub struct Variable {
    pub name: &'static str,
    pub read: fn(Request<'_>) -> Value,
}

/// Declares variables; they are read anew each time, as leases come and go.
pub(crate) fn declare(conf: &Conf, variables: &'static [Variable]) -> ConfResult {
    for variable in variables {
        // SAFETY: called from preconfiguration; nginx copies the name, and the
        // table that `data` points into is static.
        unsafe {
            let cf: *mut ngx_conf_t = conf.0;
            let name = variable.name.as_bytes();
            let mut name = ngx_str_t {
                len: name.len(),
                data: name.as_ptr().cast_mut(),
            };
            let added = ngx_http_add_variable(cf, &raw mut name, NGX_HTTP_VAR_NOCACHEABLE as usize);
            let Some(added) = added.as_mut() else {
                return Err(format!("variable ${} is taken", variable.name));
            };
            added.get_handler = Some(get_entry);
            added.data = ptr::from_ref(variable).expose_provenance();
        }
    }
    Ok(())
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
