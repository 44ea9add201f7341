//! LiteLLM's proxy, in a virtual environment of its own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::mock::Mock;
use crate::process::Server;
use crate::stream::MODEL;

/// Starting takes half a minute, mostly for imports.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts the proxy in its fastest configuration: one worker, one deployment, no database, no
/// client tokens.
pub fn start(lab: &Lab, mock: &Mock) -> Result<Server> {
    let program = lab.litellm.join("bin/litellm");
    if !program.exists() {
        return Err(Error::Missing(program.display().to_string()));
    }
    Server::start("litellm", PATIENCE, |dir, port| {
        let config = dir.join("config.yaml");
        let text = format!(
            "model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://127.0.0.1:{}/v1
      api_key: sk-bench-litellm
litellm_settings: {{ telemetry: false }}
",
            mock.port()
        );
        fs::write(&config, text).while_doing("writing LiteLLM's configuration")?;
        let mut command = lab.cores.for_nginx(program);
        command
            .arg("--config")
            .arg(config)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--num_workers", "1"])
            .env("HOME", dir)
            .env("LITELLM_LOG", "ERROR")
            .env(
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
                "true",
            );
        Ok(command)
    })
}

/// The installed version of LiteLLM.
pub fn version(lab: &Lab) -> String {
    let print = "from importlib.metadata import version; print(version('litellm'))";
    let python = lab.litellm.join("bin/python");
    let output = Command::new(python).args(["-c", print]).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
