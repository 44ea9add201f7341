//! The OpenAPI document, generated from the types of the bodies.

use std::sync::OnceLock;

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, Info, OneOfBuilder, OpenApiBuilder,
    PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
};

use super::problem::ErrorResponse;
use super::request::{AcquireRequest, ExtendRequest, ReleaseRequest};
use super::response::{
    AcquireResponse, ActiveLocks, CleanupResponse, ForceReleaseResponse, Health, Index,
    ReleaseResponse, SystemInfo,
};
use super::route::Access;
use super::stats::Stats;
use super::status::GatewayStatus;

/// An operation of the document.
struct Operation {
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    access: Access,
    summary: &'static str,
    description: &'static str,
    takes: &'static [Parameter],
    asks: Option<&'static str>,
    answers: &'static str,
    /// Further statuses whose body has the same schema as the answer.
    also: &'static [u16],
    errors: &'static [u16],
}

/// A query parameter: name, description, schema.
type Parameter = (&'static str, &'static str, fn() -> RefOr<Schema>);

const JSON: &str = "application/json";
/// Marks a plain-text answer, which has no schema.
const PLAIN: &str = "text/plain";

const OPERATIONS: &[Operation] = &[
    Operation {
        method: HttpMethod::Post,
        path: "/v1/lock/acquire",
        id: "acquireLock",
        access: Access::Client,
        summary: "Acquire a lock",
        description: "Locks a slot of an API key for one service. Answers 429 at once when no \
                      slot is free, unless `wait_ms` is set. The same `request_id` of the same \
                      service gets the same lock while it is held.",
        takes: &[],
        asks: Some("AcquireRequest"),
        answers: "AcquireResponse",
        also: &[],
        errors: &[400, 401, 404, 413, 422, 429, 503],
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/lock/extend",
        id: "extendLock",
        access: Access::Client,
        summary: "Extend a lock",
        description: "Extends a lock that its owner still holds.",
        takes: &[],
        asks: Some("ExtendRequest"),
        answers: "AcquireResponse",
        also: &[],
        errors: &[400, 401, 403, 404, 409, 413, 422, 503],
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/lock/release",
        id: "releaseLock",
        access: Access::Client,
        summary: "Release a lock",
        description: "Releases a lock of the caller. A repeated release gets the same answer.",
        takes: &[],
        asks: Some("ReleaseRequest"),
        answers: "ReleaseResponse",
        also: &[],
        errors: &[400, 401, 403, 404, 413, 422, 503],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/locks/active",
        id: "listLocks",
        access: Access::Client,
        summary: "List held slots",
        description: "The slots that are held on this machine, by services and by requests \
                      through the gateway. A service sees its own, an administrator all.",
        takes: &[],
        asks: None,
        answers: "ActiveLocks",
        also: &[],
        errors: &[401, 503],
    },
    Operation {
        method: HttpMethod::Delete,
        path: "/v1/locks/{lock_id}/force-release",
        id: "forceReleaseLock",
        access: Access::Admin,
        summary: "Release a lock as an administrator",
        description: "Requires the token of an administrator. The owner's next `extend` fails.",
        takes: &[],
        asks: None,
        answers: "ForceReleaseResponse",
        also: &[],
        errors: &[401, 403, 404, 409, 503],
    },
    Operation {
        method: HttpMethod::Post,
        path: "/v1/maintenance/cleanup-expired",
        id: "cleanUp",
        access: Access::Admin,
        summary: "Remove ended locks",
        description: "Requires the token of an administrator. Ends expired locks and removes all \
                      ended ones. Their slots are free without this call.",
        takes: &[],
        asks: None,
        answers: "CleanupResponse",
        also: &[],
        errors: &[401, 403, 503],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/stats",
        id: "stats",
        access: Access::Client,
        summary: "Stats",
        description: "Sums of requests, tokens, cost and times since a UTC day. A service sees its \
                      own stats, an administrator all, also by model, pool and key.",
        takes: &[
            (
                "service",
                "The service; only administrators may name another one.",
                service,
            ),
            (
                "since",
                "The first UTC day: a date, or a time within it. By default all stored \
                       days; `since` in the answer is the first one.",
                since,
            ),
        ],
        asks: None,
        answers: "Stats",
        also: &[],
        errors: &[401, 403, 404, 422, 503],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/",
        id: "index",
        access: Access::Client,
        summary: "Index",
        description: "Name and version of the gateway, and paths of its API.",
        takes: &[],
        asks: None,
        answers: "Index",
        also: &[],
        errors: &[401],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/system/info",
        id: "systemInfo",
        access: Access::Client,
        summary: "System information",
        description: "Versions, uptime and key pools. Keys are named by their ids.",
        takes: &[],
        asks: None,
        answers: "SystemInfo",
        also: &[],
        errors: &[401, 503],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/v1/status",
        id: "status",
        access: Access::Admin,
        summary: "Status",
        description: "Requires the token of an administrator. The data of the status page: state \
                      of pools, keys, nodes and circuits, held slots, waiting requests, and \
                      metrics by service.",
        takes: &[],
        asks: None,
        answers: "GatewayStatus",
        also: &[],
        errors: &[401, 403, 503],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/metrics",
        id: "metrics",
        access: Access::Client,
        summary: "Metrics",
        description: "Counters and gauges in Prometheus' text format. A service sees its own \
                      counters and quotas and the state of the pools, an administrator all.",
        takes: &[],
        asks: None,
        answers: PLAIN,
        also: &[503],
        errors: &[401],
    },
    Operation {
        method: HttpMethod::Get,
        path: "/health",
        id: "health",
        access: Access::Public,
        summary: "Health",
        description: "200 when the gateway can serve requests, with `degraded` if there are \
                      problems; 503 when it cannot. Needs no token.",
        takes: &[],
        asks: None,
        answers: "Health",
        also: &[503],
        errors: &[],
    },
];

/// The document as JSON.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut info = Info::new("nginx-openai", env!("CARGO_PKG_VERSION"));
        info.description = Some(
            "Locks on slots of OpenAI API keys, and the state of the gateway. Every path except \
             /health, /docs and /status requires the token of a client."
                .to_owned(),
        );
        let mut paths = PathsBuilder::new();
        for operation in OPERATIONS {
            let item = utoipa::openapi::PathItem::new(operation.method.clone(), operation.built());
            paths = paths.path(operation.path, item);
        }
        let document = OpenApiBuilder::new()
            .info(info)
            .paths(paths)
            .components(Some(components().build()))
            .build();
        let mut document = serde_json::to_value(document).unwrap_or_default();
        let acquire = "/paths/~1v1~1lock~1acquire/post/responses/200";
        if let Some(answer) = document.pointer_mut(acquire) {
            answer["links"] = links();
        }
        document.to_string()
    })
}

fn components() -> ComponentsBuilder {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token of a client."));
    let header = ApiKeyValue::with_description("X-Service-Token", "The same token.");
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .security_scheme(
            "serviceToken",
            SecurityScheme::ApiKey(ApiKey::Header(header)),
        );
    let mut schemas = vec![];
    component::<AcquireRequest>(&mut schemas);
    component::<ReleaseRequest>(&mut schemas);
    component::<ExtendRequest>(&mut schemas);
    component::<AcquireResponse>(&mut schemas);
    component::<ReleaseResponse>(&mut schemas);
    component::<ActiveLocks>(&mut schemas);
    component::<ForceReleaseResponse>(&mut schemas);
    component::<CleanupResponse>(&mut schemas);
    component::<Health>(&mut schemas);
    component::<Index>(&mut schemas);
    component::<SystemInfo>(&mut schemas);
    component::<Stats>(&mut schemas);
    component::<GatewayStatus>(&mut schemas);
    component::<ErrorResponse>(&mut schemas);
    components.schemas_from_iter(schemas)
}

type Named = (String, RefOr<Schema>);

fn component<T: ToSchema>(schemas: &mut Vec<Named>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

impl Operation {
    fn built(&self) -> OperationBuilder {
        let mut built = OperationBuilder::new()
            .operation_id(Some(self.id))
            .summary(Some(self.summary))
            .description(Some(self.description))
            .response("200", answer(200, self.answers));
        for &status in self.also {
            built = built.response(status.to_string(), answer(status, self.answers));
        }
        for &status in self.errors {
            built = built.response(status.to_string(), answer(status, "ErrorResponse"));
        }
        if let Some(asks) = self.asks {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(asks)));
            let body = RequestBodyBuilder::new()
                .content(JSON, content.build())
                .required(Some(Required::True));
            built = built.request_body(Some(body.build()));
        }
        if self.path.contains("{lock_id}") {
            let name = ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[0-9a-f]{32}$"));
            let parameter = ParameterBuilder::new()
                .name("lock_id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(name));
            built = built.parameter(parameter.description(Some("The lock.")));
        }
        for (name, meaning, schema) in self.takes {
            let parameter = ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .schema(Some(schema()));
            built = built.parameter(parameter.description(Some(*meaning)));
        }
        if self.access != Access::Public {
            let none: [&str; 0] = [];
            built = built
                .security(SecurityRequirement::new("bearer", none))
                .security(SecurityRequirement::new("serviceToken", none));
        }
        built
    }
}

fn service() -> RefOr<Schema> {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Za-z0-9._-]{1,64}$"));
    name.into()
}

fn since() -> RefOr<Schema> {
    let text = |format| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(format)))
    };
    let either = OneOfBuilder::new()
        .item(text(KnownFormat::Date))
        .item(text(KnownFormat::DateTime));
    either.into()
}

/// Links from a taken lock to the operations on it. utoipa writes field names that OpenAPI does
/// not define, so they are written here.
fn links() -> Value {
    let link = |operation: &str| {
        json!({
            "operationId": operation,
            "requestBody": {
                "lock_id": "$response.body#/lock_info/lock_id",
                "service_name": "$request.body#/service_name",
            },
        })
    };
    json!({ "extend": link("extendLock"), "release": link("releaseLock") })
}

fn answer(status: u16, body: &str) -> ResponseBuilder {
    let description = match status {
        200 => "Success.",
        400 => "The body is not a JSON object.",
        401 => "The token is missing or unknown.",
        403 => "The token does not allow it.",
        404 => "The lock, pool or service does not exist.",
        409 => "The lock has ended.",
        413 => "The body is too large.",
        422 => "A field or parameter is missing or invalid; `param` names it.",
        429 => "No slot is free, or, with `insufficient_quota`, the quota is used up.",
        _ => "Temporarily unavailable.",
    };
    let content = ContentBuilder::new();
    let response = ResponseBuilder::new().description(description);
    let response = if body == PLAIN {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response.content(PLAIN, content.schema(Some(text)).build())
    } else {
        let schema = Ref::from_schema_name(body);
        response.content(JSON, content.schema(Some(schema)).build())
    };
    if status == 429 {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)));
        let header = HeaderBuilder::new().schema(seconds.build());
        let header = header.description(Some("Seconds to wait before a retry."));
        return response.header("Retry-After", header.build());
    }
    response
}
