//! Replies as core knows them.

use openai_core::redlock::{ErrorKind, Value};

/// A reply of the redis crate in core's terms.
pub fn of(value: redis::Value) -> Value {
    match value {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(number) => Value::Int(number),
        redis::Value::BulkString(bytes) => Value::Bytes(bytes),
        redis::Value::SimpleString(text) => Value::Bytes(text.into_bytes()),
        redis::Value::VerbatimString { text, .. } => Value::Bytes(text.into_bytes()),
        redis::Value::Okay => Value::Bytes(b"OK".to_vec()),
        redis::Value::Array(values) => Value::Array(values.into_iter().map(of).collect()),
        redis::Value::ServerError(error) => Value::Error(ErrorKind::classify(error.code())),
        _ => Value::Error(ErrorKind::Garbage),
    }
}
