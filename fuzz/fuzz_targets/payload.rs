//! Payloads of documents, whole and in chunks: both give the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miroir_core::payload::{PayloadError, PayloadFormat, Splitter};

const DOCUMENT_BYTES_MAX: usize = 1 << 16;

fn split(format: PayloadFormat, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, PayloadError> {
    let mut documents = Vec::new();
    let mut sink = |document: &[u8]| -> Result<(), PayloadError> {
        documents.push(document.to_vec());
        Ok(())
    };
    let mut splitter = Splitter::new(format, DOCUMENT_BYTES_MAX);
    for chunk in chunks {
        splitter.push(chunk, &mut sink)?;
    }
    splitter.finish(&mut sink)?;
    Ok(documents)
}

fuzz_target!(|data: &[u8]| {
    let [choice, cut, payload @ ..] = data else {
        return;
    };
    let format = match choice % 3 {
        0 => PayloadFormat::Json,
        1 => PayloadFormat::Ndjson,
        _ => PayloadFormat::Csv { delimiter: b',' },
    };
    let at = usize::from(*cut) * payload.len() / 256;
    let (first, second) = payload.split_at(at);
    assert_eq!(split(format, &[payload]), split(format, &[first, second]));
});
