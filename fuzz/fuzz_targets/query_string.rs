//! Query strings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_api::{filter, query, search};

fuzz_target!(|raw: &str| {
    let _ = search::read_parameters(raw);
    let _ = filter::filter_from_text(raw);
    assert!(query::decode_path(raw).len() <= 3 * raw.len());
});
