//! `openai_clients`: who may use the gateway.

use nginx_safe::{Conf, ConfResult};
use openai_core::clients::{ClientDirective, Clients, Measure, QuotaDirective};

use super::lines::{self, Placed, Read};
use super::{Main, source};

/// Reads the block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    if main.clients.is_some() {
        return Err(Some(
            "is a duplicate, put all clients into one block".into(),
        ));
    }
    let mut clients = Clients::default();
    let (mut quotas, mut places) = (vec![], vec![]);
    lines::block(conf, |conf, line| {
        line.each("client", |values| client(conf, values, &mut clients));
        line.each("quota", |values| {
            let quota = QuotaDirective::parse(values).map_err(|e| e.to_string())?;
            let mut limits = quota.quota.limits().iter();
            if limits.any(|limit| limit.measure == Measure::Cost) {
                let placed = || Placed::new(conf, quota.whose.to_string());
                main.by_cost.get_or_insert_with(placed);
            }
            quotas.push(quota);
            places.push(conf.position());
            Ok(())
        });
    })?;
    let dev_mode = source::environment(conf, "DEV_MODE").as_str() == "true";
    clients = clients.with_dev_mode(dev_mode).map_err(|e| e.to_string())?;
    if dev_mode {
        conf.warn("openai_clients: DEV_MODE is on: the public development tokens are accepted");
    }
    if !conf.only_signals() {
        if clients.as_slice().is_empty() {
            return Err(Some(
                "has no \"client\", add \"client NAME env:NAME;\" or \"client NAME file:PATH;\""
                    .into(),
            ));
        }
        clients.bound(&quotas).map_err(|(at, e)| {
            if let Some(place) = places.get(at) {
                conf.reject_later(&place.mistake(format!("openai_clients: quota: {e}")));
            }
            None
        })?;
    }
    main.clients = Some(clients);
    Ok(())
}

fn client(conf: &Conf, parameters: &[&str], clients: &mut Clients) -> ConfResult {
    let directive = ClientDirective::parse(parameters).map_err(|e| e.to_string())?;
    if conf.only_signals() {
        return Ok(());
    }
    let text = source::text(conf, &directive.source, false)?;
    clients.add(&directive, &text).map_err(|e| e.to_string())
}
