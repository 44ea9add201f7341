//! Paths of the API, with their methods and required roles.

use super::problem::Problem;

/// Required role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None; no token is needed.
    Public,
    /// A client with a token.
    Client,
    /// A client with `role=admin`.
    Admin,
}

/// An operation of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiRoute {
    /// Name, version and paths.
    Index,
    /// Health.
    Health,
    /// Information about the gateway.
    SystemInfo,
    /// The documentation page.
    Docs,
    /// The OpenAPI document.
    OpenApi,
    /// Acquire a lock.
    Acquire,
    /// Release a lock.
    Release,
    /// Extend a lock.
    Extend,
    /// List the held slots.
    Active,
    /// End a lock as an administrator. Contains the lock id as it is in the path.
    ForceRelease(String),
    /// Remove expired locks.
    Cleanup,
    /// Stats.
    Stats,
    /// The status page.
    StatusPage,
    /// The data of the status page.
    Status,
    /// Metrics for Prometheus.
    Metrics,
}

impl ApiRoute {
    /// The required role.
    #[must_use]
    pub fn access(&self) -> Access {
        self.needs().1
    }

    /// The HTTP method and the required role.
    fn needs(&self) -> (&'static str, Access) {
        match self {
            // The pages contain no data, and a browser sends no token when it opens them.
            Self::Health | Self::StatusPage | Self::Docs => ("GET", Access::Public),
            Self::Acquire | Self::Release | Self::Extend => ("POST", Access::Client),
            Self::ForceRelease(_) => ("DELETE", Access::Admin),
            Self::Cleanup => ("POST", Access::Admin),
            Self::Status => ("GET", Access::Admin),
            Self::Active | Self::Stats | Self::Metrics => ("GET", Access::Client),
            Self::SystemInfo | Self::OpenApi | Self::Index => ("GET", Access::Client),
        }
    }

    /// Whether the operation has a request body.
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

/// Finds the operation of a request.
///
/// # Errors
/// When the path does not exist, or does not accept the method.
pub fn route(method: &str, path: &str) -> Result<ApiRoute, Problem> {
    let route = ApiRoute::of(path).ok_or(Problem::no_such_path())?;
    let (wanted, _) = route.needs();
    if method == wanted || (wanted == "GET" && method == "HEAD") {
        return Ok(route);
    }
    Err(Problem::method_not_allowed(match wanted {
        "GET" => "GET, HEAD",
        other => other,
    }))
}
