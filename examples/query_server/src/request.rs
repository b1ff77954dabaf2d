//! One request: an expert from its first byte to its last.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use expert_alloc::{Error, Expert, FailureKind};
use serde_json::json;

use crate::ALLOC;
use crate::tenants::Tenant;
use crate::work;

/// The quota of one request, in bytes.
const QUOTA: usize = 1 << 20;

/// How long one request may take if the client does not say.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The kind of a request, for clients that check their answers.
const KIND: HeaderName = HeaderName::from_static("x-kind");

/// Answers a request of this kind.
pub async fn answer(tenant: &Tenant, kind: &str, deadline: Duration) -> Response {
    let Ok(expert) = ALLOC.expert(kind).parent(&tenant.expert).quota(QUOTA).register() else {
        return refusal(kind, StatusCode::SERVICE_UNAVAILABLE, "no more experts");
    };
    let Some(work) = work::of(kind, &expert) else {
        return refusal(kind, StatusCode::NOT_FOUND, "no such kind");
    };
    let outcome = {
        let mut task = std::pin::pin!(expert.run_async(work));
        tokio::select! {
            outcome = &mut task => outcome,
            () = tokio::time::sleep(deadline) => {
                // This wakes the task, which is then dropped.
                expert.terminate();
                task.await
            }
        }
    };
    let failure = outcome.as_ref().err().map(|failure| failure.kind());
    // This is outside of the scope, so the answer to the client is in the host's memory.
    let response = match outcome {
        Ok(Ok(sum)) => {
            (StatusCode::OK, [(KIND, kind)], Json(json!({ "sum": sum }))).into_response()
        }
        Ok(Err(refused)) => refusal(kind, status_of_error(refused), &refused.to_string()),
        Err(failure) => refusal(kind, status_of(failure.kind()), &failure.to_string()),
    };
    end(tenant, expert, failure);
    response
}

fn end(tenant: &Tenant, expert: Expert, failure: Option<FailureKind>) {
    let peak = expert.stats().peak_bytes;
    tenant.count(failure, peak, &expert.finish());
}

fn refusal(kind: &str, status: StatusCode, why: &str) -> Response {
    (status, [(KIND, kind)], Json(json!({ "error": why }))).into_response()
}

fn status_of(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::OverQuota => StatusCode::INSUFFICIENT_STORAGE,
        FailureKind::Terminated => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::ParentStopped => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn status_of_error(error: Error) -> StatusCode {
    match error {
        Error::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
