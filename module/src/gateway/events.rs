//! Events about a request.

use nginx_safe::{Level, Request, Token};
use openai_core::admin::lock_id;
use openai_core::lease::LeaseHandle;
use serde_json::{Value, json};

use crate::config::Main;
use crate::gateway::{Context, trace};
use crate::telemetry::{event, is_logged};

/// Logs a lost lease; returns `false` if its request is gone.
pub fn lease_lost(token: Token, handle: LeaseHandle) -> bool {
    let write_event = |request: Request<'_>| {
        let ctx = request.recalled::<Context>()?;
        let fields = json!({ "lock_id": lock_id(handle.nonce()) });
        write(&request, ctx, Level::Error, "lease_lost", fields);
        Some(())
    };
    token.with(write_event).flatten().is_some()
}

/// Writes an event with the fields that identify the request: its id, lease, client and
/// processing time so far.
pub fn write(request: &Request<'_>, ctx: &Context, level: Level, name: &str, mut fields: Value) {
    if !is_logged(level) {
        return;
    }
    let lease = ctx.lease().map(|lease| lock_id(lease.grant.handle.nonce()));
    let main = request.main_conf::<Main>();
    let client = main.and_then(|main| ctx.client(main));
    let known = [
        ("request_id", trace::id(request).map(Value::from)),
        ("lock_id", lease.map(Value::from)),
        (
            "service_name",
            client.map(|client| client.name.as_str().into()),
        ),
        ("processing_time_ms", Some(request.age_ms().into())),
    ];
    for (field, value) in known {
        if let Some(value) = value {
            fields[field] = value;
        }
    }
    event(level, name, fields);
}
