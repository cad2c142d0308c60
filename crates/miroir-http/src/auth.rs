//! Who may do what. For now there is one key, the master key, and it opens everything.

use miroir_api::error::{Code, ResponseError};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Checks the `Authorization` header against the master key; anything passes if there is none.
///
/// # Errors
/// The header is missing or has another scheme, or its key is not the master key.
pub(crate) fn authorize(
    authorization: Option<&str>,
    master_key: Option<&str>,
) -> Result<(), ResponseError> {
    let Some(master_key) = master_key else {
        return Ok(());
    };
    let mut words = authorization.unwrap_or_default().split_whitespace();
    if words.next() != Some("Bearer") {
        return Err(ResponseError::new(
            Code::MissingAuthorizationHeader,
            "The Authorization header is missing. It must use the bearer authorization method.",
        ));
    }
    if is_same_key(words.next().unwrap_or_default(), master_key) {
        Ok(())
    } else {
        Err(ResponseError::new(
            Code::InvalidApiKey,
            "The provided API key is invalid.",
        ))
    }
}

/// Refuses what only exists with a master key.
///
/// # Errors
/// There is no master key.
pub(crate) fn require_master_key(master_key: Option<&str>) -> Result<(), ResponseError> {
    match master_key {
        Some(_) => Ok(()),
        None => Err(ResponseError::new(
            Code::MissingMasterKey,
            "Meilisearch is running without a master key. To access this API endpoint, you must \
             have set a master key at launch.",
        )),
    }
}

/// Compares two keys in a time that tells neither where they differ nor how long the right one is.
fn is_same_key(given: &str, right: &str) -> bool {
    Sha256::digest(given.as_bytes())
        .ct_eq(&Sha256::digest(right.as_bytes()))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(authorization: Option<&str>, master_key: Option<&str>) -> Option<String> {
        authorize(authorization, master_key)
            .err()
            .map(|error| error.code.into_owned())
    }

    #[test]
    fn without_a_master_key_everything_is_open() {
        assert_eq!(code(None, None), None);
        assert_eq!(code(Some("Bearer whatever"), None), None);
    }

    #[test]
    fn with_a_master_key_only_it_opens() {
        let key = Some("a");
        assert_eq!(code(Some("Bearer a"), key), None);
        assert_eq!(
            code(None, key).as_deref(),
            Some("missing_authorization_header")
        );
        assert_eq!(
            code(Some("Basic a"), key).as_deref(),
            Some("missing_authorization_header")
        );
        assert_eq!(
            code(Some("bearer a"), key).as_deref(),
            Some("missing_authorization_header")
        );
        assert_eq!(
            code(Some("Bearer b"), key).as_deref(),
            Some("invalid_api_key")
        );
        assert_eq!(
            code(Some("Bearer"), key).as_deref(),
            Some("invalid_api_key")
        );
    }
}
