//! The bundled data set: the world's cities. Source, licence and making: `data/README.md`.

use anyhow::Context;
use bytes::Bytes;
use flate2::read::GzDecoder;
use std::io::Read;

/// Compressed NDJSON, one city a line.
const COMPRESSED: &[u8] = include_bytes!("../../data/cities.ndjson.gz");
/// What the attribution asks for, shown with the demo.
pub(super) const ATTRIBUTION: &str = "City data: GeoNames (geonames.org), CC BY 4.0";
/// The number of lines.
pub(super) const COUNT: u64 = 34_006;
/// Some nine steps of progress; each far below any size limit of a request.
const CHUNK_LINES: usize = 4_000;

/// A part of the data set that is sent as one request.
#[derive(Debug)]
pub(super) struct Chunk {
    /// NDJSON.
    pub(super) body: Bytes,
    /// Its number of documents.
    pub(super) count: u64,
}

/// Returns the data set in parts, in the order of the file.
///
/// # Errors
/// If the bundled file is damaged.
pub(super) fn chunks() -> anyhow::Result<Vec<Chunk>> {
    let mut text = String::new();
    GzDecoder::new(COMPRESSED)
        .read_to_string(&mut text)
        .context("the bundled data set is damaged")?;
    let lines: Vec<&str> = text.lines().collect();
    let chunk = |lines: &[&str]| Chunk {
        body: Bytes::from(lines.join("\n")),
        count: lines.len() as u64,
    };
    Ok(lines.chunks(CHUNK_LINES).map(chunk).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn every_city_has_its_fields_and_its_own_id() {
        let mut ids = BTreeSet::new();
        for chunk in chunks().unwrap() {
            for line in chunk.body.split(|byte| *byte == b'\n') {
                let city: Value = serde_json::from_slice(line).unwrap();
                assert!(ids.insert(city["id"].as_u64().unwrap()), "{city}");
                for field in ["name", "country", "countryCode", "continent", "timezone"] {
                    assert!(city[field].is_string(), "{field} of {city}");
                }
                assert!(city["population"].is_u64(), "{city}");
                let geo = |axis: &str| city["_geo"][axis].as_f64().unwrap();
                assert!(
                    geo("lat").abs() <= 90.0 && geo("lng").abs() <= 180.0,
                    "{city}"
                );
            }
        }
        assert_eq!(ids.len() as u64, COUNT);
    }
}
