//! Request bodies. Each is read to its end before the answer: what a client still has to send
//! would otherwise cost it the connection.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::ApiError;
use crate::exchange::Refusal;

/// The largest body that is kept.
const MAX_KEPT: usize = 64 << 20;

/// Reads a body and keeps it.
pub(super) async fn keep(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_KEPT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::body_too_large(MAX_KEPT).into())
        }
        Err(_) => Err(Refusal::Incomplete),
    }
}

/// Reads a body of any length, keeping nothing but the number of its bytes.
pub(super) async fn count(mut body: Body) -> Result<u64, Refusal> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Incomplete)?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}
