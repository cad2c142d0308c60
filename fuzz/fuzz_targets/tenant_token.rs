//! Tenant tokens: whatever is read does not pass a key that did not sign it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_api::key::KeyValue;
use miroir_api::tenant::TenantToken;

fuzz_target!(|text: &str| {
    let Some(key) = KeyValue::from_hex(&"5a".repeat(32)) else {
        return;
    };
    if let Ok(token) = TenantToken::parse(text) {
        assert!(token.verify(&key, 0).is_err(), "a token was forged");
    }
});
