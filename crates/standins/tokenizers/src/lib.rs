//! A stand-in for tokenizers: the names the engine uses for Hugging Face models; nothing loads.

use std::path::Path;

/// The error of every operation.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

fn refusal<T>() -> Result<T, Error> {
    Err("local tokenizers are not part of this build".into())
}

/// A tokenizer that cannot be loaded.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    padding: Option<PaddingParams>,
}

impl Tokenizer {
    /// # Errors
    /// Always.
    pub fn from_file<P: AsRef<Path>>(_file: P) -> Result<Self, Error> {
        refusal()
    }

    /// The padding, if any was set.
    pub fn get_padding_mut(&mut self) -> Option<&mut PaddingParams> {
        self.padding.as_mut()
    }

    /// Sets the padding.
    pub fn with_padding(&mut self, padding: Option<PaddingParams>) -> &mut Self {
        self.padding = padding;
        self
    }

    /// # Errors
    /// Always.
    pub fn encode(&self, _text: &str, _add_special_tokens: bool) -> Result<Encoding, Error> {
        refusal()
    }
}

/// The tokens of a text.
#[derive(Debug, Clone, Default)]
pub struct Encoding {
    ids: Vec<u32>,
}

impl Encoding {
    /// The numbers of the tokens.
    pub fn get_ids(&self) -> &[u32] {
        &self.ids
    }
}

/// How short texts are filled up.
#[derive(Debug, Clone, Default)]
pub struct PaddingParams {
    /// Up to which length.
    pub strategy: PaddingStrategy,
}

/// The length to which texts are filled up.
#[derive(Debug, Clone, Default)]
pub enum PaddingStrategy {
    /// The longest of the batch.
    #[default]
    BatchLongest,
}
