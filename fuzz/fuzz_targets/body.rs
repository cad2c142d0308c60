//! JSON bodies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_api::error::Code;
use miroir_api::settings::check_settings;
use miroir_api::{feature, filter, key, multi_search, search};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let _ = search::read_body(&body);
    let _ = multi_search::read_body(&body);
    let _ = check_settings(&body);
    let _ = key::read_change(&body);
    let _ = feature::read_patch(&body);
    let _ = filter::check_filter(&body, Code::InvalidSearchFilter);
});
