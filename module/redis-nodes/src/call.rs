//! Script calls packed as Redis commands.

use std::cell::OnceCell;
use std::collections::HashMap;

use openai_core::redlock::{Script, ScriptCall};

thread_local! {
    static DIGESTS: OnceCell<HashMap<Script, String>> = const { OnceCell::new() };
}

/// Packs the call with the script's digest (`EVALSHA`), for nodes that have loaded the script.
pub fn by_digest(call: &ScriptCall) -> Vec<u8> {
    DIGESTS.with(|digests| {
        let digests = digests.get_or_init(|| {
            let digest = |script: Script| redis::Script::new(script.source()).get_hash().to_owned();
            Script::ALL
                .into_iter()
                .map(|script| (script, digest(script)))
                .collect()
        });
        let digest = digests.get(&call.script).map_or("", String::as_str);
        packed("EVALSHA", digest, call)
    })
}

/// Packs the call with the script's text (`EVAL`), for a node that does not have the script any
/// more.
pub fn in_full(call: &ScriptCall) -> Vec<u8> {
    packed("EVAL", call.script.source(), call)
}

fn packed(verb: &str, script: &str, call: &ScriptCall) -> Vec<u8> {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(call.keys.len());
    for key in &call.keys {
        command.arg(key);
    }
    for argument in &call.args {
        command.arg(argument);
    }
    command.get_packed_command()
}
