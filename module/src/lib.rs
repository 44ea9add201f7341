//! `ngx_http_openai_module`: exclusive leases on API keys, in nginx's request phases.
//!
//! A request that a location sends to a key pool is held in PRECONTENT until a
//! slot of a key is leased to it; the key's secret goes upstream in place of the
//! client's token; the lease ends with the request. All pointers live in the crate
//! `nginx-safe`.
#![deny(unsafe_code)]

mod api;
mod config;
mod gateway;
mod pool;
mod telemetry;
mod worker;

use config::{
    AttemptsHeader, Auth, ClientsBlock, EventLog, IncludeUsage, Inspect, InspectInvalid,
    InspectMaxSize, InspectOversize, KeyWatch, Location, LockKey, LockTtl, Main, Metrics,
    NextKeyOn, NextKeyTimeout, NextKeyTries, OnClientAbort, OpenaiApi, OpenaiPool, OpenaiRoute,
    PoolBlock, PricesFile, ProcessTimeHeader, RedlockBlock, RoutesBlock, StatsFile, StatsZone,
    TraceOn, UpstreamBlock, UsageOn, ZoneSize,
};
use nginx_safe::{
    AnswerHead, AttemptDecision, Commands, ConfResult, Cycle, HttpModule, Request, Variables,
    Wrapped, command, end,
};
use openai_core::clients;

/// The module, as the glue to nginx names it.
pub(crate) struct Openai;

static mut COMMANDS: Commands<32> = [
    command::<ZoneSize>(),
    command::<PoolBlock>(),
    command::<RedlockBlock>(),
    command::<KeyWatch>(),
    command::<UpstreamBlock>(),
    command::<ClientsBlock>(),
    command::<RoutesBlock>(),
    command::<OpenaiPool>(),
    command::<OpenaiRoute>(),
    command::<Auth>(),
    command::<Inspect>(),
    command::<InspectMaxSize>(),
    command::<InspectOversize>(),
    command::<InspectInvalid>(),
    command::<OpenaiApi>(),
    command::<LockTtl>(),
    command::<LockKey>(),
    command::<NextKeyOn>(),
    command::<NextKeyTries>(),
    command::<NextKeyTimeout>(),
    command::<AttemptsHeader>(),
    command::<UsageOn>(),
    command::<IncludeUsage>(),
    command::<PricesFile>(),
    command::<StatsZone>(),
    command::<StatsFile>(),
    command::<EventLog>(),
    command::<Metrics>(),
    command::<OnClientAbort>(),
    command::<TraceOn>(),
    command::<ProcessTimeHeader>(),
    end(),
];

nginx_safe::export_module!(ngx_http_openai_module, Openai, COMMANDS);

impl HttpModule for Openai {
    type Main = Main;
    type Location = Location;
    type Access = api::Access;
    type Precontent = api::Precontent;
    type Log = gateway::Log;
    type Filter = gateway::stream::Answers;
    type Content = api::Handler;
    const VARIABLES: Variables = api::variables::ALL;

    fn record() -> *const nginx_safe::ModuleRecord {
        &raw const ngx_http_openai_module
    }

    fn entries() -> &'static nginx_safe::Entries {
        &ENTRIES
    }

    fn show(message: &str, words: &[&str]) -> String {
        openai_core::echo::message(message, words)
    }

    fn commit(main: &Main) -> ConfResult {
        worker::commit(main)
    }

    fn start(main: &Main, cycle: Cycle) -> ConfResult {
        worker::start(main, cycle)
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

    fn tells_secret(value: &[u8], secret: &[u8]) -> bool {
        clients::tells_secret(value, secret)
    }

    fn answer_complete(request: Request<'_>) {
        gateway::answer_complete(request);
    }

    fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision {
        gateway::answer_begun(request, head)
    }

    fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision {
        gateway::attempt_failed(request, status, reused)
    }

    fn answer_broken(request: Request<'_>, status: u16) -> Option<&'static [u8]> {
        gateway::answer_broken(&request, status)
    }

    fn attempt_over(request: Request<'_>) {
        gateway::attempt_over(request);
    }

    fn subrequest_done(request: Request<'_>) {
        gateway::subrequest_done(request);
    }
}
