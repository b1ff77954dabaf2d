//! The routes of the server.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::ALLOC;
use crate::request;
use crate::tenants::{Row, Tenants};

/// The routes, with tenants of their own.
pub fn router() -> Router {
    Router::new()
        .route("/t/{tenant}/{kind}", get(query))
        .route("/experts", get(experts))
        .route("/report", get(|| async { ALLOC.report().to_string() }))
        .route("/purge", post(|| async { ALLOC.purge() }))
        .with_state(Tenants::default())
}

/// The options of a request.
#[derive(Deserialize)]
struct Options {
    /// How long the client waits, in milliseconds.
    deadline: Option<u64>,
}

async fn query(
    State(tenants): State<Tenants>,
    Path((tenant, kind)): Path<(String, String)>,
    Query(options): Query<Options>,
) -> Response {
    let deadline = options.deadline.map_or(request::DEADLINE, Duration::from_millis);
    match tenants.get(&tenant) {
        Ok(tenant) => request::answer(&tenant, &kind, deadline).await,
        Err(refused) => (StatusCode::SERVICE_UNAVAILABLE, refused.to_string()).into_response(),
    }
}

async fn experts(State(tenants): State<Tenants>) -> Json<Vec<Row>> {
    Json(tenants.rows())
}
