//! `openai_clients`: who may use the gateway.

use std::ffi::CStr;

use nginx_safe::{Args, Block, Conf, ConfResult, Directive, Scope};
use openai_core::clients::{ClientDirective, Clients, QuotaDirective, TokenSource};

use super::{Main, source};

pub struct ClientsBlock;

impl Directive for ClientsBlock {
    type Target = Main;
    const NAME: &'static CStr = c"openai_clients";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::Block;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        if main.clients.is_some() {
            return Err(Some("is a duplicate".into()));
        }
        let (mut clients, mut quotas) = (Clients::default(), vec![]);
        let read = |conf: &Conf, line: Block<'_>| {
            read_line(conf, line.words, &mut clients, &mut quotas)
                .map_err(|e| format!("openai_clients: {e}"))
        };
        conf.block(read).map_err(|()| None)?;
        if conf.environment("DEV_MODE").as_deref() == Some("true") {
            clients = clients.with_dev_tokens().map_err(|e| e.to_string())?;
            conf.warn(
                "openai_clients: DEV_MODE is on: the tokens that everyone knows are accepted",
            );
        }
        if clients.as_slice().is_empty() && !conf.only_signals() {
            return Err(Some("has no \"client\"".into()));
        }
        if !conf.only_signals() {
            clients.bound(&quotas).map_err(|e| format!("quota: {e}"))?;
        }
        main.clients = Some(clients);
        Ok(())
    }
}

fn read_line(
    conf: &Conf,
    words: &[&str],
    clients: &mut Clients,
    quotas: &mut Vec<QuotaDirective>,
) -> ConfResult {
    let [name, parameters @ ..] = words else {
        return Ok(());
    };
    if *name == "quota" {
        quotas.push(QuotaDirective::parse(parameters).map_err(|e| format!("quota: {e}"))?);
        return Ok(());
    }
    if *name != "client" {
        return Err(format!("unknown directive \"{name}\""));
    }
    let directive = ClientDirective::parse(parameters).map_err(|e| format!("client: {e}"))?;
    if conf.only_signals() {
        return Ok(());
    }
    let text = match &directive.source {
        TokenSource::Env(name) => source::environment(conf, name),
        TokenSource::File(path) => {
            source::file(conf, path, false).map_err(|e| format!("client: {e}"))?
        }
    };
    clients
        .add(&directive, &text)
        .map_err(|e| format!("client: {e}"))
}
