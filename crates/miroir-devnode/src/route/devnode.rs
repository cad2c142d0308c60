//! The fault switches, see `faults.rs`. Open to all: a stand-in has nothing to protect.

use crate::http::Call;
use crate::route::{Answer, ok};

pub(super) async fn faults(call: Call) -> Answer {
    Ok(ok(call.shared.faults.view()))
}

pub(super) async fn set_faults(mut call: Call) -> Answer {
    let body = call.take_json().await?;
    call.shared.faults.update(&body)?;
    // A queue that was held may go on.
    call.shared.bell.ring();
    Ok(ok(call.shared.faults.view()))
}
