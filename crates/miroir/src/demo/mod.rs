//! The demo: a real data set, loaded and searched through the proxy's public API.
//!
//! It knows nothing of the engine: whatever it does, a user can repeat with curl.

mod cities;
mod load;
mod tour;

use crate::client::HttpClient;

/// The index that the demo fills.
const INDEX: &str = "cities";

/// Loads the data set unless it is there already, then runs and prints a few searches.
///
/// # Errors
/// If the proxy refuses something, or a task fails.
pub(crate) async fn run(client: &HttpClient) -> anyhow::Result<()> {
    load::run(client).await?;
    tour::run(client).await
}
