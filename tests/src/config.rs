//! The nginx.conf of a plan.

use std::path::Path;

use rustix::process::geteuid;

use crate::flavour::Flavour;
use crate::plan::{KEY, Plan};

/// Where one gateway listens and finds its files.
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) port: u16,
    pub(crate) status_port: u16,
    pub(crate) tls_port: u16,
    pub(crate) upstream: &'a str,
}

/// The access log has every variable of the module under its short name.
const LOG_FORMAT: &str = r#"log_format e2e escape=json '{"status":"$status","uri":"$request_uri",'
    '"pool":"$openai_pool","key_id":"$openai_key_id","slot":"$openai_slot",'
    '"lease_id":"$openai_lease_id","fence":"$openai_fence","lease_status":"$openai_lease_status",'
    '"wait_ms":"$openai_wait_ms","hold_ms":"$openai_hold_ms","service":"$openai_service",'
    '"role":"$openai_role","model":"$openai_model","stream":"$openai_stream",'
    '"user":"$openai_user","lock_rounds":"$openai_lock_rounds","lock_votes":"$openai_lock_votes",'
    '"prompt_tokens":"$openai_prompt_tokens","completion_tokens":"$openai_completion_tokens",'
    '"cached_tokens":"$openai_cached_tokens","reasoning_tokens":"$openai_reasoning_tokens",'
    '"usage":"$openai_usage","first_token_ms":"$openai_first_token_ms","cost":"$openai_cost",'
    '"upstream":"$openai_upstream","upstream_model":"$openai_upstream_model",'
    '"route":"$openai_route","trace_id":"$openai_trace_id","span_id":"$openai_span_id",'
    '"request_id":"$openai_request_id"}';
access_log {dir}/access.log e2e;"#;

/// The lines that every nginx of this suite needs, whatever it is to serve.
pub(crate) fn preamble(flavour: &Flavour) -> String {
    // As in production, the workers of a root master are unprivileged.
    let user = if geteuid().is_root() {
        "user nobody nogroup;"
    } else {
        ""
    };
    format!(
        "{user}\nload_module {};\npid {{dir}}/nginx.pid;\n",
        flavour.module.display()
    )
}

/// Keeps nginx's temporary files in its own directory.
pub(crate) const TEMP_PATHS: &str = "client_body_temp_path {dir}/client_body;
proxy_temp_path {dir}/proxy;
fastcgi_temp_path {dir}/fastcgi;
scgi_temp_path {dir}/scgi;
uwsgi_temp_path {dir}/uwsgi;
";

/// Renders a plan.
pub(crate) fn render(plan: &Plan, flavour: &Flavour, place: &Place<'_>) -> String {
    let pools = pools(plan);
    let serves = plan.serves.clone();
    let serves = serves.unwrap_or_else(|| format!("openai {};", pools[0].0));
    let blocks: String = pools
        .iter()
        .map(|(name, body)| format!("openai_pool {name} {{\n{body}\n}}\n"))
        .collect();
    let gauges: String = pools.iter().map(|(name, _)| gauge(name)).collect();
    let clients = plan.clients.as_ref().map_or_else(String::new, |body| {
        format!("openai_clients {{\n{body}\n}}\n")
    });
    let tls = if plan.tls {
        "listen 127.0.0.1:{tls_port} ssl http2;
         ssl_certificate {dir}/localhost.crt;
         ssl_certificate_key {dir}/localhost.key;"
    } else {
        ""
    };
    let Plan {
        workers,
        connections,
        log_level,
        main,
        http,
        server,
        location,
        proxied,
        ..
    } = plan;
    let text = format!(
        "{preamble}
worker_processes {workers};
daemon off;
error_log {{dir}}/error.log {log_level};
{main}
events {{ worker_connections {connections}; }}
http {{
{TEMP_PATHS}
{LOG_FORMAT}
{blocks}{clients}{http}
upstream upstream {{ server {{upstream}}; keepalive 64; }}
server {{
listen 127.0.0.1:{{port}} backlog=4096;
{tls}
{server}
location /v1/ {{
{serves}
{location}{proxied}
}}
}}
server {{
listen 127.0.0.1:{{status_port}};
access_log off;
location = /up {{ return 200 up; }}
{gauges}}}
}}
",
        preamble = preamble(flavour),
    );
    fill(&text, place)
}

/// A configuration with these blocks beside `events`.
pub(crate) fn without_plan(flavour: &Flavour, dir: &Path, workers: usize, blocks: &str) -> String {
    let text = format!(
        "{preamble}
worker_processes {workers};
daemon off;
error_log {{dir}}/error.log info;
events {{}}
{blocks}
",
        preamble = preamble(flavour),
    );
    text.replace("{dir}", &dir.display().to_string())
}

/// The pools of a plan; the first one serves `/v1/`.
pub(crate) fn pools(plan: &Plan) -> Vec<(String, String)> {
    if plan.pools.is_empty() {
        return vec![("main".to_owned(), format!("key {KEY} id=main;"))];
    }
    plan.pools.clone()
}

/// A location that reports how many slots of a pool are held and how many requests wait.
fn gauge(pool: &str) -> String {
    format!(
        "location = /held/{pool} {{ openai {pool}; openai_auth off; \
         return 200 \"$openai_pool_held $openai_pool_waiting $openai_pool_slots\"; }}\n"
    )
}

/// Puts a gateway's own place into a text.
pub(crate) fn fill(text: &str, place: &Place<'_>) -> String {
    text.replace("{dir}", &place.dir.display().to_string())
        .replace("{port}", &place.port.to_string())
        .replace("{status_port}", &place.status_port.to_string())
        .replace("{tls_port}", &place.tls_port.to_string())
        .replace("{upstream}", place.upstream)
}
