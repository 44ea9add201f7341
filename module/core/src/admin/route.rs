//! Which path does what, by which method, for whom.

use super::problem::Problem;

/// Who may call a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token.
    Public,
    /// A client, by its token.
    Client,
    /// A client with `role=admin`.
    Admin,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// What there is, by name and version.
    Index,
    /// Whether the gateway can serve.
    Health,
    /// What this gateway is.
    SystemInfo,
    /// The page for people.
    Docs,
    /// The page for programs.
    OpenApi,
    /// Takes a lock.
    Acquire,
    /// Gives one back.
    Release,
    /// Prolongs one.
    Extend,
    /// Who holds what.
    Active,
    /// Ends somebody's lock; its name as it stands in the path.
    ForceRelease(String),
    /// Forgets what has ended.
    Cleanup,
    /// What has been counted.
    Stats,
    /// The page for operators.
    StatusPage,
    /// What it shows.
    Status,
    /// What Prometheus reads.
    Metrics,
}

impl Route {
    /// Who may call it.
    #[must_use]
    pub fn access(&self) -> Access {
        match self {
            // The pages hold no data; and a browser that opens them sends no token.
            Self::Health | Self::StatusPage | Self::Docs => Access::Public,
            Self::Acquire
            | Self::Release
            | Self::Extend
            | Self::Active
            | Self::Stats
            | Self::Metrics
            | Self::SystemInfo
            | Self::OpenApi
            | Self::Index => Access::Client,
            Self::ForceRelease(_) | Self::Cleanup | Self::Status => Access::Admin,
        }
    }

    /// Its method, and whether it has a body.
    fn method(&self) -> &'static str {
        match self {
            Self::Acquire | Self::Release | Self::Extend | Self::Cleanup => "POST",
            Self::ForceRelease(_) => "DELETE",
            _ => "GET",
        }
    }

    /// Whether its body says what is asked for.
    #[must_use]
    pub fn has_body(&self) -> bool {
        matches!(self, Self::Acquire | Self::Release | Self::Extend)
    }

    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/health" => Self::Health,
            "/system/info" => Self::SystemInfo,
            "/docs" | "/redoc" => Self::Docs,
            "/openapi.json" => Self::OpenApi,
            "/metrics" => Self::Metrics,
            "/status" => Self::StatusPage,
            "/v1/status" => Self::Status,
            "/v1/lock/acquire" => Self::Acquire,
            "/v1/lock/release" => Self::Release,
            "/v1/lock/extend" => Self::Extend,
            "/v1/locks/active" => Self::Active,
            "/v1/stats" => Self::Stats,
            "/v1/maintenance/cleanup-expired" => Self::Cleanup,
            _ => {
                let rest = path.strip_prefix("/v1/locks/")?;
                let id = rest.strip_suffix("/force-release")?;
                let one = !id.is_empty() && !id.contains('/');
                one.then(|| Self::ForceRelease(id.to_owned()))?
            }
        })
    }
}

/// What a request asks for.
///
/// # Errors
/// When there is no such path, or not by this method.
pub fn route(method: &str, path: &str) -> Result<Route, Problem> {
    let route = Route::of(path).ok_or(Problem::no_such_path())?;
    let wanted = route.method();
    if method == wanted || (wanted == "GET" && method == "HEAD") {
        return Ok(route);
    }
    Err(Problem::method_not_allowed(match wanted {
        "GET" => "GET, HEAD",
        other => other,
    }))
}
