//! Who may do what: the master key, API keys derived from it, tenant tokens signed with those.
//!
//! ```text
//! header ─► bearer ─► master key?  ─────────────────────► everything
//!                  └► tenant token? (searches only) ─┐
//!                  └► API key? ──────────────────────┴─► expiry, index, action ─► Permit
//! ```
//! Without a master key every route is open but those that manage keys. The words of a refusal are
//! those of Meilisearch: they tell a bearer which indexes its own credential names, never more.
//! Secrets are compared in a time that does not tell where they differ.

pub(crate) mod permit;
pub(crate) mod ring;
pub(crate) mod route;

use miroir_api::action::Action;
use miroir_api::error::{Code, ResponseError};
use miroir_api::tenant::{TenantToken, TenantTokenError};
use miroir_engine::Engine;
use permit::Permit;
use ring::{KeyRing, RingKey};
use route::Need;
use std::sync::Arc;
use time::OffsetDateTime;

/// What a request is about to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The `Authorization` header; one that is no text counts as empty.
    pub(crate) authorization: Option<&'a str>,
    /// What the route needs; `None` for a route that no key opens.
    pub(crate) need: Option<Need>,
    /// The index that the path names.
    pub(crate) index: Option<&'a str>,
}

/// Decides whether a request may go on.
///
/// # Errors
/// It may not.
pub(crate) fn authorize(
    asked: Asked<'_>,
    ring: &KeyRing,
    engine: &Engine,
) -> Result<Permit, ResponseError> {
    let token = bearer(asked.authorization)?;
    let Some(master_key) = ring.master_key() else {
        return match asked.need {
            Some(need) if need.is_about_keys() => Err(missing_master_key()),
            _ => Ok(Permit::everything()),
        };
    };
    let Some(token) = token else {
        return Err(missing_authorization());
    };
    if master_key.is_same(token) {
        return Ok(Permit::everything());
    }
    let Some(need) = asked.need else {
        return Err(invalid_key());
    };
    let now = engine.now();
    let mut permit = None;
    for action in need.actions() {
        let found = identify(token, *action, ring, engine, now)?;
        check(&found, *action, asked.index, now)?;
        permit.get_or_insert(found);
    }
    permit.ok_or_else(invalid_key)
}

/// What follows `Bearer ` in the header; `None` without a header.
fn bearer(authorization: Option<&str>) -> Result<Option<&str>, ResponseError> {
    let Some(authorization) = authorization else {
        return Ok(None);
    };
    match authorization.split_once(' ') {
        Some(("Bearer", token)) => Ok(Some(token)),
        None if authorization == "Bearer" => Err(invalid_key()),
        _ => Err(missing_authorization()),
    }
}

/// Whose token it is and what it is limited to, whatever it asks for.
fn identify(
    token: &str,
    action: Action,
    ring: &KeyRing,
    engine: &Engine,
    now: OffsetDateTime,
) -> Result<Permit, ResponseError> {
    let keys = ring.keys(engine);
    if matches!(action, Action::Search | Action::ChatCompletions) {
        match TenantToken::parse(token) {
            Ok(tenant) => {
                let uid = tenant.api_key_uid();
                // The value of a key that is not there can be computed as well: a wrong signature
                // and a removed key are told apart, as Meilisearch does.
                let secret = ring.value_of(uid).ok_or_else(invalid_key)?;
                let rules = tenant
                    .verify(&secret, now.unix_timestamp())
                    .map_err(|error| refused_token(&error))?;
                let key = keys.by_uid(uid).ok_or_else(invalid_key)?;
                return Ok(Permit::tenant(key, rules));
            }
            Err(TenantTokenError::NotAToken) => {}
            Err(error) => return Err(refused_token(&error)),
        }
    }
    let key: Arc<RingKey> = keys.by_value(token).ok_or_else(invalid_key)?;
    Ok(Permit::key(key))
}

/// Whether the key (and the token signed with it) reaches the index and allows the action.
fn check(
    permit: &Permit,
    action: Action,
    index: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), ResponseError> {
    if let Some(index) = index {
        permit.check_index(index)?;
    }
    if permit.allows(action, index, now) {
        Ok(())
    } else {
        Err(invalid_key())
    }
}

/// The credential opens nothing here.
pub(crate) fn invalid_key() -> ResponseError {
    refusal("The provided API key is invalid.")
}

fn refused_token(error: &TenantTokenError) -> ResponseError {
    refusal(error.to_string())
}

fn refusal(message: impl Into<String>) -> ResponseError {
    ResponseError::new(Code::InvalidApiKey, message)
}

fn missing_authorization() -> ResponseError {
    ResponseError::new(
        Code::MissingAuthorizationHeader,
        "The Authorization header is missing. It must use the bearer authorization method.",
    )
}

fn missing_master_key() -> ResponseError {
    ResponseError::new(
        Code::MissingMasterKey,
        "Meilisearch is running without a master key. To access this API endpoint, you must have \
         set a master key at launch.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_exactly_bearer_and_one_space() {
        let code = |header| bearer(header).map_err(|error| error.code.into_owned());
        let missing = Err("missing_authorization_header".to_owned());
        assert_eq!(code(None), Ok(None));
        assert_eq!(code(Some("Bearer a")), Ok(Some("a")));
        assert_eq!(code(Some("Bearer  a b")), Ok(Some(" a b")));
        assert_eq!(code(Some("Bearer")), Err("invalid_api_key".to_owned()));
        for other in ["", "a", "bearer a", "Basic a", "Bearera"] {
            assert_eq!(code(Some(other)), missing, "{other}");
        }
    }
}
