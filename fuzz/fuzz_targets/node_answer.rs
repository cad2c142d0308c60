//! Answers of nodes: however broken, they are merged or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_core::merge::{IndexView, SearchPlan};
use miroir_core::search::SearchRequest;

fuzz_target!(|data: &[u8]| {
    let request = SearchRequest {
        facets: Some(vec!["f".to_owned()]),
        distinct: Some("f".to_owned()),
        ..SearchRequest::default()
    };
    let view = IndexView {
        filterable: vec!["*".to_owned()],
        ..IndexView::default()
    };
    let Ok(plan) = SearchPlan::new(&request, &view) else {
        return;
    };
    let good = br#"{"hits":[],"estimatedTotalHits":1,"facetDistribution":{"f":{"a":1}}}"#;
    if let Ok(page) = plan.merge(&[data, good]) {
        let mut out = Vec::new();
        page.write_response(&mut out, 0, "");
    }
});
