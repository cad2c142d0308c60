//! Document templates: what is sent to nodes shows as the client set it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_core::settings::{guarded, revealed};

fuzz_target!(|template: &str| {
    // One that holds a guard itself is taken for one of ours.
    if !template.contains("_miroir_") {
        assert_eq!(revealed(&guarded(template)), template);
    }
});
