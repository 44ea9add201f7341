//! `ngx_http_openai_module`: exclusive leases on API keys, in nginx's request phases.
//!
//! A request that a location sends to a key pool is held in PRECONTENT until it has a lease
//! of a slot. The key's secret is sent upstream instead of the client's token. The lease
//! ends with the upstream's response, or with the request. All unsafe code is in the crate
//! `nginx-safe`.
#![deny(unsafe_code)]

mod api;
mod config;
mod gateway;
mod pool;
mod telemetry;
mod worker;

use api::LockService;
use config::{Location, Main};
use nginx_safe::{
    AnswerHead, AttemptDecision, ConfResult, HttpModule, Request, Variables, Wrapped,
};
use openai_core::clients;

/// The driver of the request path.
type Driver = gateway::Driver<LockService>;

/// The module, as it is exported to nginx.
pub(crate) struct Openai;

nginx_safe::export_module!(ngx_http_openai_module, Openai, config::DIRECTIVES);

impl HttpModule for Openai {
    type Main = Main;
    type Location = Location;
    type Access = gateway::AccessPhase<LockService>;
    type Precontent = gateway::PrecontentPhase<LockService>;
    type Filter = gateway::AnswerFilter<LockService>;
    type Content = api::Handler;
    const NAME: &'static str = "openai";
    const VARIABLES: Variables = gateway::variables::ALL;

    fn show(message: &str, words: &[&str]) -> String {
        openai_core::echo::message(message, words)
    }

    fn commit(main: &Main) -> ConfResult {
        worker::commit(main)
    }

    fn ended(request: Request<'_>) {
        gateway::ended(request);
    }

    fn start(main: &Main) -> ConfResult {
        worker::start(main)
    }

    fn stop() {
        worker::stop();
    }

    fn finish(main: &Main) {
        worker::finish(main);
    }
}

impl Wrapped for Openai {
    fn is_credential(name: &[u8]) -> bool {
        clients::is_credential_header(name)
    }

    fn secret_of(value: &[u8]) -> &[u8] {
        clients::secret_of(value)
    }

    fn contains_secret(value: &[u8], secret: &[u8]) -> bool {
        clients::contains_secret(value, secret)
    }

    fn answer_complete(request: Request<'_>) {
        gateway::answer_complete(request);
    }

    fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision {
        Driver::answer_begun(request, head)
    }

    fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision {
        Driver::attempt_failed(request, status, reused)
    }

    fn answer_broken(request: Request<'_>, status: u16) -> Option<&'static [u8]> {
        gateway::answer_broken(&request, status)
    }

    fn enters_precontent(request: Request<'_>) {
        gateway::enters_precontent(request);
    }
}
